"""Every limit and time-out of the router, with its unit and its reason."""

from __future__ import annotations

RANGES_PER_NEW_SHARD = 4
"""A shard starts with several ranges, so that a part of it can move away later."""

PLACEMENT_POINTS_PER_RANGE = 500
"""Points of each range on the hash ring: the fullest range then holds about 7 % above the mean."""

RESERVATION_CHUNK_ACCOUNTS = 5_000
"""Numbers reserved in one transaction: a few statements, and the range counters free soon."""

OPENING_FILE_CHUNK_LINES = 5_000
"""Accounts of a file opened before the next are read: some MB, and one chunk of reservations."""

OPENING_FILE_BYTES_MAX = 1024**3
"""A million openings take 0.1 to 0.5 kB each; what is larger is not a list of accounts."""

OPENING_FILE_LINE_CHARS_MAX = 10_000
"""A line of such a file has seven short fields; a longer one is another kind of file."""

OPENING_CHUNK_ACCOUNTS = 500
"""Accounts opened in one statement of a shard, like a batch of postings."""

ROUTE_REFRESH_PAUSE_S = 0.2
"""Refreshes of the range map are at least this far apart, however many callers ask."""

ROUTE_REFRESH_LIMIT_S = 2.0
"""How long a refresh waits for the directory, and then for the shards: requests wait with it."""

GC_YOUNG_OBJECTS = 20_000
"""Objects made before Python looks for cycles among them: some hundred requests' worth."""

REQUEST_BUDGET_S = 5.0
"""How long a request waits for a moving range; moves pause writers for well below a second."""

LAST_TRY_S = 1.0
"""What the last try of a request gets at least: it ends by an answer, not by the clock."""

MOVING_PAUSE_FIRST_S = 0.02
"""First pause while a range moves; it doubles, so that a short move costs little."""

MOVING_PAUSE_MAX_S = 0.25
"""Longest pause while a range moves."""

WAIT_PAUSE_FIRST_S = 0.005
"""First pause of a client that waits for its money to arrive; a lone convoy takes about 8 ms."""

WAIT_PAUSE_MAX_S = 0.1
"""Longest pause between two looks at the same transfer."""

TRANSFER_LEGS_MAX = 100
"""Legs of one transfer: a voucher a person can still read; more is a bulk of transfers."""

PAYROLL_CHUNK_LINES = 500
"""Lines read and posted at once: one full batch of a lane."""

PAYROLL_REPORT_ROWS = 1_000
"""Records of a payroll file read at once for its report."""

PAYROLL_POLL_PAUSE_S = 0.2
"""Pause between two looks at what of a file is still in transit."""

PAYROLL_PATIENCE_S = 30.0
"""How long a payroll asks a shard again that fails or moves; a restart takes some seconds."""

PAYROLL_LINE_DIGITS = 7
"""A file has at most a million lines; padded, their references sort in the order of the file."""

PAYROLL_WAIT_S = 300.0
"""After this the report is written although some lines are in transit; it can be renewed."""

PAYROLL_SPOOL_CHUNK_BYTES = 1024**2
"""Bytes of a payment file copied by one call into a thread; bounds memory."""

SUSPENSE_ITEMS_MAX = 100_000
"""Amounts of one shard that may wait for other shards before it accepts no more: minutes of its
cross-shard traffic, and what convoys and sweeps deliver within two minutes afterwards."""

SUSPENSE_COUNT_S = 1.0
"""How often open items are counted. Several processes together may pass the bound by what they
park within this; a count reads the index only, at most to the bound."""

SUSPENSE_RECOUNT_PAUSE_S = 0.1
"""Counts are at least this far apart, also while transfers are refused that might fit by now."""

SUSPENSE_FIGURES_S = 5.0
"""How often sums and ages of open items are read for metrics: more often than common scrapes, so
that a figure is seconds old at most."""

SUSPENSE_FIGURES_ITEMS = 250_000
"""Open items, oldest first, that such a reading sums: twice the bound, and a fifth of a second of
the shard's work."""

SUSPENSE_AGE_BOUNDS_S = (10.0, 60.0, 600.0, 3600.0, 86_400.0)
"""Ages of open items that metrics tell apart: a convoy's life, a minute, and where people are
told, begin to call, and miss a business day."""

SHARD_DOWN_PROBE_S = 5.0
"""How often the watch asks a shard that is known not to answer. Requests find out by themselves;
this is for a process that has none."""

TEMPORAL_PROBE_S = 5.0
"""How often Temporal is asked for a sign of life."""

PAYROLL_ROOM_WAIT_S = 300.0
"""How long a payroll waits for money before it to arrive, without one line getting through: longer
than a Temporal or a shard that restarts takes."""

CALENDAR_YEARS_AHEAD = 10
"""Closing days that a new bank knows in advance."""

CALENDAR_SEARCH_DAYS = 30
"""No calendar closes a bank longer; a longer search means a broken calendar."""

EOD_DAYS_AHEAD_MAX = 14
"""Days one advance may skip, as none can be taken back: longer than any series of holidays."""

CHECK_READINGS = 3
"""Attempts to see clearing, or an item, at rest while convoys come and go."""

CHECK_ITEMS = 10_000
"""Open items looked at one by one per shard and carrier."""

CHECK_SUSPECTS = 10_000
"""Items looked at again by one check: more than a second's traffic, and still a few MB."""

CUSTOMER_CHARS_MAX = 64
"""A customer number, like a reference."""

REMITTANCE_CHARS_MAX = 500
"""What a shard keeps of a file payment's remittance lines, joined."""

BODY_BYTES_MAX = 64 * 1024
"""A transfer takes less than 1 kB; whatever is larger is no request of this API."""

HEAD_WAIT_S = 10.0
"""From the first byte of a request to the end of its head, which is one packet of most clients."""

BODY_WAIT_S = 10.0
"""From a request's head to the end of its body; whoever trickles must not keep a place for ever."""

NARRATIVE_CHARS_MAX = 140
"""ISO 20022 ``Max140Text``, the unstructured remittance information of a payment."""

NAME_CHARS_MAX = 140
"""ISO 20022 ``Max140Text``, the name of a party."""

METADATA_KEYS_MAX = 20
"""What a channel notes about an account: a few references of its own, not its data."""

METADATA_KEY_CHARS_MAX = 64
"""A key names a system or a field, like a reference."""

METADATA_VALUE_CHARS_MAX = 256
"""Room for a long identifier or a URL; more belongs into the system that is referred to."""

REASON_CHARS_MAX = 140
"""Why an account's status changes: a sentence for the audit trail."""

CURSOR_CHARS_MAX = 4_000
"""A cursor is opaque: a vector over an account's buckets at most, a few hundred of them."""

FIELD_ERRORS_MAX = 20
"""A problem lists this many wrong fields; more would only echo a hostile body."""

POINTER_CHARS_MAX = 200
"""A pointer may repeat the client's own field name; a longer one is cut."""

PREFER_WAIT_MAX_S = 10
"""The longest a client may wait for its money; a convoy that needs longer is in trouble."""

POSTINGS_IN_FLIGHT_MAX = 256
"""Postings of one process that are under way at shards which are not slow. Eight times what gives
the peak rate: at 3,000 a second the last one is answered within 90 ms. Beyond it a request is
refused before it is read, which costs a quarter of carrying it out."""

REQUESTS_IN_FLIGHT_MAX = 2_000
"""Requests of any kind in one process, those included that wait for their money to arrive: some
10 kB each. Only health and metrics are answered beyond it."""

CONNECTIONS_MAX = 4_000
"""Open connections of one process: twice what may be under way, as most are idle."""

DESCRIPTORS_RESERVED = 256
"""File descriptors that are not clients' connections: those to databases, Temporal, logs."""

REQUEST_TIMEOUT_GRACE_S = 0.1
"""How much later than the caller's own time limit a request that heeds none is cut off."""

SLOW_REQUEST_S = 1.0
"""A request that took longer is told of in the log; nobody waits a second without a reason."""

LOG_LINES_PER_SECOND = 10
"""Lines of one kind about requests; beyond it they are counted, as a flood would hide itself."""

RETRY_AFTER_S = 1
"""Queues drain and ranges move within a second; whole seconds are what the header can say."""

PROBE_TIMEOUT_S = 1.0
"""A shard that has not answered a probe within this is reported as not answering."""

KEEP_ALIVE_S = 75
"""Longer than the 60 s of common proxies, so that they, not we, close an idle connection."""

BACKLOG_CONNECTIONS = 2_048
"""Connections the kernel keeps for us while the event loop is busy."""

SHUTDOWN_GRACE_S = 15
"""Above the longest wait of one request, below the 30 s orchestrators allow."""

CLI_PIPE_COLUMNS = 160
"""Width of tables that are not shown on a terminal: the widest one fits."""

CLI_PROCESS_NO = 7
"""Lanes of commands use the system accounts' last buckets, so that they do not wait for the API."""

API_READY_LIMIT_S = 60.0
"""The API answers within two seconds; a busy machine or a slow disk may need longer."""

API_STOP_LIMIT_S = SHUTDOWN_GRACE_S + 15.0
"""The requests under way, then the worker's own limit, then closing connections."""

API_PROBE_LIMIT_S = 5.0
"""One look at whether the API is ready; it asks every shard."""

TRANSFER_WAIT_S = 5.0
"""How long ``ledger transfer`` waits for its money to arrive: a convoy's longest life."""

PAYMENT_FILE_BYTES_MAX = 2 * 1024**3
"""A million payments take 0.3 to 1.5 kB each; what is larger is not a payment file."""

PAYMENT_FILE_LINES_MAX = 1_000_000
"""The largest payroll this bank takes in one file; several files can follow each other."""

XML_CHUNK_BYTES = 64 * 1024
"""Bytes given to the XML parser at once: some hundred payments, so memory stays flat."""

XML_HEAD_BYTES_MAX = 64 * 1024
"""The document's element must begin within these bytes; only comments could come before it."""

XML_DEPTH_MAX = 64
"""Elements within each other; pain.001 nests about a dozen, its envelopes some more."""

XML_NAMES_MAX = 2_000
"""Different names of elements and attributes; all versions of pain.001 together have a third."""

XML_UNCLOSED_BYTES_MAX = 1024**2
"""Bytes that may pass before a payment or a header is complete: bounds memory, whatever comes."""

XML_UNCLOSED_ELEMENTS_MAX = 20_000
"""Elements that may begin before a payment or a header is complete; each takes 200 bytes."""

ISO_IDENTIFIER_CHARS_MAX = 35
"""Max35Text of ISO 20022: message, payment information, instruction and end-to-end ids."""

ISO_NAME_CHARS_MAX = 140
"""Max140Text of ISO 20022: names of parties."""

ISO_ACCOUNT_CHARS_MAX = 34
"""Max34Text of ISO 20022: an IBAN or another account number."""

ISO_REMITTANCE_CHARS_MAX = 140
"""Max140Text of ISO 20022: one block of unstructured remittance information."""

ISO_REMITTANCE_BLOCKS_MAX = 10
"""Blocks taken from one payment; the narrative of an entry is for a person to read."""

IBANS_REMEMBERED = 10_000
"""Counterparties whose IBAN is kept while a statement is written; making one takes long."""

STATEMENT_BUFFER_BYTES = 64 * 1024
"""A statement up to this size is answered when it is whole, so that an error can still be told."""

AMOUNT_INTEGER_DIGITS_MAX = 14
"""Integer digits of ``NUMERIC(18,4)``, in which the shards keep money."""

ISO_INFORMATION_CHARS_MAX = 105
"""Max105Text of ISO 20022: one block of additional information on a status."""

PAYMENT_REPORT_CHUNK_LINES = 500
"""Statuses written by one call into a thread, so that the event loop stays free."""

DEMO_CONNECTIONS = 32
"""Connections of the demonstration: what a few payment channels keep open."""

DEMO_REPEATS = 200
"""How often a transfer without a final answer is sent again: about 50 s of a dead API."""

DEMO_REST_LIMIT_S = 120.0
"""How long the demonstration waits until no money is in transit: two runs of a route."""

DEMO_POLL_PAUSE_S = 0.1
"""Pause between two looks at what is in transit; the end of a saga has no other signal."""

DEMO_SAMPLE_ACCOUNTS = 500
"""Balances that the demonstration compares with its own sums; reading all takes ten seconds."""

DEMO_VISIBILITY_LIMIT_S = 10.0
"""Temporal's list of workflows lags behind them by a second or two."""

BULK_CHUNK_LINES = 100
"""Lines read and booked together: a millisecond or two, then others have their turn."""

BULK_CHUNK_BYTES = 64 * 1024
"""A chunk with long lines, each of many legs, has fewer of them: it takes no longer to read."""

BULK_CHUNKS_IN_FLIGHT = 40
"""Chunks of one stream that are not answered yet: enough to fill the lanes of several shards,
and some MB. Until the oldest one is answered, nothing more of the stream is read."""

BULK_STREAMS_MAX = 16
"""Streams served by one process at a time; more would only share the same lanes."""

BULK_UNBROKEN_BYTES_MAX = 1024**2
"""Bytes without an end of line, none of them kept, after which a stream is no NDJSON."""

BULK_ATOMIC_LINES_MAX = 1_000
"""Lines booked in one transaction: two full batches, so others wait some 50 ms for its locks."""

BULK_STALL_S = 300.0
"""A client that sends nothing, or takes none of the answers, for so long is not coming back."""

CLIENT_TIMEOUT_S = 20.0
"""Above a request's budget and a lane's patience with a lost connection: then it is unknown."""

CLIENT_CONNECT_LIMIT_S = 5.0
"""An API that does not accept a connection within this is not there."""

CLIENT_REPEATS = 10
"""How often a client asks again: about 15 s of an API that restarts."""

CLIENT_PAUSE_FIRST_S = 0.05
"""First pause of a client before it asks again; it doubles."""

CLIENT_PAUSE_MAX_S = 2.0
"""Longest pause of a client before it asks again, unless the API asks for more."""

CLIENT_RETRY_AFTER_MAX_S = 60.0
"""What a client believes of ``Retry-After``; the ledger itself asks for a second."""

CLIENT_BULK_SILENCE_S = 60.0
"""After this without an answer a client opens its stream again, at the first line unanswered."""

CLIENT_BULK_UNANSWERED_LINES = 20_000
"""Lines a client keeps until they are answered: more than a stream has under way."""

CLIENT_BULK_CHUNK_LINES = 200
"""Lines that a client writes at once."""

CLIENT_HEAD_BYTES_MAX = 256 * 1024
"""The head of an answer, or one line of a stream's answer: a few kB at most."""

TEMPORAL_WAIT_S = 5.0
"""How long a command waits for Temporal to answer at all."""

DECISION_WAIT_S = 30.0
"""How long a command waits for a decision to be carried out: twice what its workflow takes."""

DECISION_PAUSE_S = 0.2
"""Pause before a repair that has just begun is told a decision again."""

SAGAS_LISTED = 50
"""Open items shown when the reader does not say: a screenful."""

SAGAS_LISTED_MAX = 10_000
"""Open items shown at once at most, and looked through per shard for those of one destination."""

TRACE_TEMPORAL_LIMIT_S = 2.0
"""How long a trace waits for Temporal in all: the shards' part of the story needs none of it."""
