"""Named bounds, with their units. Every queue, batch, retry and query stops at one of these."""

# Doors
REQUEST_BYTES_MAX = 16 * 1024 * 1024  # body after decompression; a larger one is answered 413
REQUEST_RECORDS_MAX = 10_000  # records beyond it are answered `too_many`
TEXT_CHARS_MAX = 256  # any text field of a record
RETRY_AFTER_S = 2  # what a full bus tells the sender

# Event time (accepted in [received - OLD, received + AHEAD])
EVENT_AGE_MAX_S = 30 * 24 * 3600
EVENT_AHEAD_MAX_S = 120
LATENESS_S = 15 * 60  # within it any order of arrival gives the same final findings

# Bus
LOGICAL_PARTITIONS = 64  # fixed for ever: the pages of the vehicle state
ENTRY_RECORDS_MAX = 2_000  # records packed in one bus entry
BUS_BYTES_MAX = 256 * 1024 * 1024  # for each partition; about 2.5 M passages: an hour's outage at 700/s
TICK_S = 5

ROADS_PARTITION = 64  # the monitor's: detector reports, weather, road works; behind all that vehicles can have

# The roads
CYCLE_S = 30  # link states, events, risk: at each full half minute of domain time
SENSOR_INTERVALS = 30  # of 30 s, kept for each point sensor
TRAVEL_WINDOW_S = 15 * 60  # travel times older than this say nothing of now
LINK_FRESH_S = 90  # a link without data for so long is unknown
TRAVEL_SAMPLES_MAX = 64  # kept of each section and 30 s; all are counted
WEATHER_VALID_S = 60 * 60  # where a report does not say how long it holds
PLACE_AWAY_M_MAX = 200.0  # farther from every road a position is off the roads
IMPORT_BYTES_MAX = 1024 * 1024 * 1024  # of one file
IMPORT_REFUSALS_MAX = 1_000  # told in the report of an import; all are in quarantine

# Worker
BATCH_RECORDS_MAX = 20_000  # one transaction
LEASE_S = 5.0
SNAPSHOT_EVERY_S = 30.0
RING_OBSERVATIONS = 16  # kept for each vehicle; older ones fall out
KEYED_REBUILD_S = 6 * 3600  # of key vehicles read back from the tables where no snapshot can be used
USUAL_CHECKPOINTS_MAX = 1_000  # whose usual times are known (200 MB for so many); those of the lowest numbers
USUAL_DAYS = 14  # of history that usual times are learned from
USUAL_EVERY_S = 3600  # and never more than a twentieth of the time
SECTION_TRAVEL_MAX_S = 2 * 3600  # an entry older than this is no pair with an exit
WATCH_LOOKBACK_S = 30 * 60  # a newly active watch entry is matched against this much past
WATCH_LOOKBACK_PLATES_MAX = 5_000  # of a pattern or of misreadings; what fits more plates is found from now on only

# Look-ups of personal data
LOOK_UP_DAYS_MAX = 31  # of one look-up; a longer one is asked for in pieces
PURPOSE_CHARS = (4, 200)  # of a stated purpose, both inclusive

# Feed and views
FEED_KEEP_S = 3600  # a client that resumes from before gets a snapshot
OBSERVATIONS_IN_FINDING_MAX = 20  # newest kept in a finding's grounds, the first always; all are counted
SHELVES_ENDED_MAX = 500  # with one tick; the rest follow with the next
SHELF_S = (60, 7 * 24 * 3600)  # how long an alert can be put aside, both inclusive
PICTURE_BYTES_MAX = 4 * 1024 * 1024  # of one picture that is copied into a finding
QUARANTINE_ROWS_MAX = 100_000  # oldest closed ones go first, then oldest open ones (counted)
SOCKET_TICK_MS = 50
SOCKET_BUFFER_BYTES_MAX = 4 * 1024 * 1024  # unsent alerts beyond it close the socket with 1013
TICKET_S = 30
SESSION_S = 12 * 3600

# Subscriptions of other platforms
SUBSCRIPTION_RECORDS_MAX = 1_000_000  # that wait for one receiver; beyond it the oldest are given up and counted
SUBSCRIPTION_KEPT_S = 24 * 3600  # and what waited longer
