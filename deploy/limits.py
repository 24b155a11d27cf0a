"""Every limit and time-out of this package, with its unit and its reason."""

# A Unix socket path longer than this is refused by Linux (108 bytes with the closing zero).
# macOS allows four bytes less, so the smaller one serves both.
SOCKET_PATH_MAX_BYTES = 103

# PostgreSQL answers within a second when it was stopped cleanly; after a crash it first replays
# up to max_wal_size of WAL, which two slow cores do within this time.
POSTGRES_START_LIMIT_S = 180.0

# A fast shutdown writes one checkpoint of 256 MB shared buffers.
POSTGRES_STOP_LIMIT_S = 60.0

# initdb takes 0.6 s on an idle machine; four at once on a loaded one stay far below this.
INITDB_LIMIT_S = 120.0

# `test`, `initdb --version`, `temporal --version`: the last loads 250 MB from a cold disk.
SHORT_COMMAND_LIMIT_S = 60.0

# Copying 40 MB takes a second; a slow disk may need far longer.
BINARIES_COPY_LIMIT_S = 120.0

# One probe of a starting server. It must end before the next one is due to matter.
PROBE_LIMIT_S = 5.0

# Starting servers are asked this often: often enough not to be felt, seldom enough to leave the
# processors to the server that is starting.
PROBE_INTERVAL_S = 0.05

# Temporal creates its SQLite schema on its first start.
TEMPORAL_START_LIMIT_S = 90.0

# The download is 60 MB, and behind a firewall its host does not answer at all.
TEMPORAL_DOWNLOAD_LIMIT_S = 300.0

# The build takes 165 s on two idle cores, plus the download of 600 MB of modules.
TEMPORAL_BUILD_LIMIT_S = 1800.0

# A line about a running build appears this often.
PROGRESS_INTERVAL_S = 5.0

# Temporal drains its services before it ends.
TEMPORAL_STOP_LIMIT_S = 20.0

# A process that was sent SIGTERM gets this long by default before it is killed.
PROCESS_STOP_LIMIT_S = 15.0

# After SIGKILL the kernel only has to free the memory.
PROCESS_KILL_LIMIT_S = 10.0

# The start time of a process is computed from the wall clock, which time synchronisation may
# step. A process id does not come round again within this time.
START_TIME_TOLERANCE_S = 3.0

# A log larger than this is set aside as `<name>.1` when its server starts.
LOG_MAX_BYTES = 20_000_000

# That much of a failed server's log goes into the error.
LOG_TAIL_LINES = 12

# Another `up` or `down` of the same folder may first have to initialise or recover.
FOLDER_LOCK_LIMIT_S = 240.0

# Free ports are taken below the range from which Linux and macOS serve outgoing connections, so
# that a stopped server finds its port still free when it starts again.
FREE_PORT_LOWEST = 20_000
FREE_PORT_HIGHEST = 32_000
FREE_PORT_ATTEMPTS = 200

# 48 random bytes are beyond guessing and need no escaping in base64.
PASSWORD_BYTES = 48
