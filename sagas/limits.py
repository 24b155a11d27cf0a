"""Every limit and time-out of the sagas, with its unit and its reason."""

from __future__ import annotations

CONVOY_ITEMS = 1_500
"""A convoy is closed at this size. Temporal's part costs as much as delivering a hundred items,
whatever a convoy holds: with 500 at most a tenth less got through."""

CHUNK_ITEMS = 1_000
"""Items in one delivery and one settlement, 50 to 70 ms each; more would only make neighbours wait
for the locks. While one chunk is settled the next one is delivered."""

CONVOYS_WAITING = 200
"""Closed convoys a process remembers (about 300,000 items); beyond it the oldest is left to the
sweeper, so that a Temporal that is down costs no memory."""

CONVOYS_IN_FLIGHT_LOWEST = 2
"""One convoy travels while the next one starts; with fewer the shards would idle in between."""

CONVOYS_IN_FLIGHT_FIRST = 3
"""Three convoys of 400 items moved 17,000 transfers/s on two cores; the bound adapts from here."""

CONVOYS_IN_FLIGHT_HIGHEST = 16
"""Temporal carries about 100 workflows/s on two cores, so more could never be full."""

DEPARTURE_INTERVAL_S = 0.04
"""While convoys of a source travel, one that is not full leaves no sooner than this after the last
one. Each costs Temporal and its worker some 20 ms of CPU time, whatever it holds: at half load
this brought the window's p99 from 230 to 150 ms."""

CONVOY_LEAVING_S = 0.1
"""So long the next convoy of a source waits for one that is closed and whose batches are not
answered. A batch takes half of that; one that hangs must not hold up what boards after it."""

CONVOY_PAUSES_S = (0.05, 0.1, 0.2, 0.4, 0.8, 1.6)
"""Pauses after rounds in which items had to wait. With the deliveries between them they make a
convoy end within about five seconds; then what is left is handed over."""

SURVEY_ATTEMPTS = 3
"""A survey only reads; two repetitions outlast a lost connection."""

SURVEYS_KEPT = 64
"""Surveyed items a process keeps for the carriages that follow at once: sixteen convoys to four
destinations. The oldest give way, and are surveyed again by the carriage that misses them."""

CARRY_LIMIT_S = 2.0
"""How long a convoy waits for one destination; then that destination is taken to be down."""

STEP_LIMIT_S = 9.0
"""Last resort for one local activity; above the deliveries of a convoy's chunks and a settlement,
of CARRY_LIMIT_S each. What takes longer, item by item, is taken up again by the next round."""

STEP_PAUSE_S = 0.05
"""First pause before a convoy's step is tried again."""

UNANSWERED_KEPT = 10_000
"""Deliveries without an answer that a worker remembers, to tell what became of them: some MB, and
more than one that stays away holds up before its items are handed over."""

DESTINATION_DOWN_S = 3.0
"""For so long convoys hand over at once what goes to a destination that did not answer."""

START_ATTEMPTS = 3
"""Attempts to start a convoy; then its items are left to the sweeper."""

START_LIMIT_S = 2.0
"""How long one attempt to start a workflow may take."""

START_PAUSE_S = 0.2
"""First pause between attempts to start a convoy; it doubles."""

CONVOY_WAIT_S = 15.0
"""A convoy that is not known to have ended by then gives its place to another. Convoys end
after about five seconds; only a dead worker or a dead Temporal takes longer."""

ARRIVAL_WAIT_S = 0.5
"""For so long a process that hosts a worker waits for that one to tell of a convoy's end; then it
asks Temporal, as the convoy may be with another worker. Five times what a full convoy takes."""

MANIFESTS_KEPT = 16
"""Cargoes a process keeps, of convoys that wait and of those that have departed: some 30 MB, and as
many as are in flight. The items of the others are read from their shard."""

CONVOY_EXECUTION_LIMIT_S = 60.0
"""Temporal ends a convoy that no worker took up. Its items are the sweeper's by then."""

TASK_LIMIT_S = 3.0
"""Workflow task time-out: how long a worker's death stays unnoticed."""

STICKY_WAIT_S = 1.0
"""How long a task waits for the worker that knows the workflow before any other may take it."""

CACHED_WORKFLOWS = 1_000
"""Above the number of workflows in flight, so that none is replayed for lack of room."""

CONCURRENT_WORKFLOW_TASKS = 64
"""Above the convoys in flight of all processes, so that an eager start finds a free slot."""

CONCURRENT_ACTIVITIES = 32
"""Regular activities serve routes only: one for each pair of shards in trouble."""

CONCURRENT_LOCAL_ACTIVITIES = 128
"""One for each destination of each convoy in flight."""

SHUTDOWN_LIMIT_S = 5.0
"""A worker that stops lets its activities finish that long; they may run again elsewhere."""

WORKER_PAUSE_S = 1.0
"""Pause before a worker that lost Temporal is set up again; it doubles up to WORKER_PAUSE_MAX_S."""

WORKER_PAUSE_MAX_S = 15.0
"""The longest pause before Temporal is asked again."""

ROUTE_CALL_LIMIT_S = 10.0
"""How long a route waits for one chunk's delivery or settlement: longer than the posting role's
own time limits, so that the shard's answer is seen whenever there is one."""

ROUTE_RUN_S = 60.0
"""After so long a route's activity ends with "more remains", so that its progress shows."""

ROUTE_RUN_LIMIT_S = 120.0
"""Last resort for one run of a route's activity; above ROUTE_RUN_S plus one chunk."""

ROUTE_BEAT_S = 2.0
"""How often a running route shows that its worker lives."""

ROUTE_HEARTBEAT_S = 10.0
"""A route that was silent for five beats lost its worker, and is given to another one."""

ROUTE_PAUSE_S = 1.0
"""First pause of a route whose destination does not take its items; it doubles."""

ROUTE_PAUSE_MAX_S = 30.0
"""The longest pause of a route: how long a destination that came back may go unnoticed."""

SWEEP_INTERVAL_S = 10.0
"""How often the sweeper looks for items that nobody carries. One sweep is 50 ms of work, nearly all
of it Temporal's, and nothing is swept before it is as old as this."""

STRAGGLER_AGE_S = 10.0
"""Items parked longer than this with a convoy as old are stragglers: twice a convoy's life."""

SWEEP_ITEMS = 10_000
"""Stragglers of one shard that one sweep sends off: seven convoys, about what two cores carry
between two sweeps."""

SWEEP_SHARD_LIMIT_S = 8.0
"""How long a sweep waits for one shard. Shards are swept side by side."""

SWEEP_CATCH_UP_S = 10.0
"""Sweeps missed while Temporal was down are not made up for: the next one sees everything.
Temporal takes no shorter window."""

SCHEDULE_CHECK_S = 10.0
"""How often a running worker sees that the sweeper's schedule is there. Without it nobody would
find stragglers after Temporal lost its database; more often would only cost calls."""

REASON_CHARS_MAX = 200
"""Characters of the reason that an operator gives for a decision."""

PERSON_CHARS_MAX = 64
"""Characters of a person's name or user id."""

ATTEMPT_MAX = 2_147_483_647
"""The highest attempt that a shard can count to: PostgreSQL's integer."""

WAIT_DAYS_MAX = 30
"""Days that a person may leave an item alone; for longer the money should go back."""

REPAIR_LOOK_S = 60.0
"""First pause before a repair workflow looks again at an item that waits for a person; it doubles.
A late convoy may have delivered it meanwhile."""

REPAIR_LOOK_MAX_S = 3600.0
"""The longest pause: a hundred looks in four days, so that histories stay short."""

REPAIR_STEP_LIMIT_S = 15.0
"""Last resort for one attempt of a repair's step; above a posting and a write with their limits."""

REPAIR_DECISION_LIMIT_S = 10.0
"""How long a decision may take with all its attempts. Temporal's UI reports an update that is not
answered within some 20 s as a success."""

REPAIR_CALL_LIMIT_S = 4.0
"""How long one attempt to decide may take: two fit into its limit, so that a worker may die."""

REPAIR_SHOW_LIMIT_S = 4.0
"""How long the answer to a decision waits for a look at what it has changed."""

REPAIRS_PER_SWEEP = 200
"""Repair workflows of one shard that one sweep sees to; the next sweep goes on behind them."""

SEARCH_ATTRIBUTES_LIMIT_S = 10.0
"""How long a worker that starts waits for Temporal to take note of the search attributes."""

CROSSING_TARGET_S = 0.28
"""From the first debit of a convoy to its end under full load. Below the time at which a payment
feels late, and enough for three convoys to keep two cores busy."""

ROOM_ITEMS_FIRST = 1_800
"""Items of bulk work on their way at first, once a stream flows. The bound adapts from here."""

ROOM_ITEMS_START = 500
"""What the first of a stream may park before anything has arrived; it doubles with each arrival."""

ROOM_ITEMS_LOWEST = 900
"""One process by itself keeps about twice as many on their way. Two of them share what the machine
delivers: with 1,800 each the window's p99 went from 290 to 400 ms."""

ROOM_ITEMS_HIGHEST = 20_000
"""More than two cores deliver in a second."""

ROOM_WAIT_S = 1.0
"""How long bulk work waits for room where nothing gets through, as while Temporal is away."""
