-- Reading the feed by cursor (one place for each partition). The readers' roles see only what their policies allow.

-- name: feed_since
-- At most `limit` rows behind each partition's place, in the feed's own order within a partition. Of flow, devices and
-- links who sees what stands with the checkpoint or link: their rows come without an audience, since there are many.
SELECT f.partition, f.seq, (extract(epoch FROM f.at) * 1000000)::bigint, f.topic, f.kind, f.key,
       CASE WHEN f.kind NOT IN ('flow', 'device', 'links') THEN f.audience END, f.visibility,
       CASE WHEN f.kind NOT IN ('flow', 'device', 'links') THEN f.addressees END, f.body::text
FROM unnest(%(ids)s::smallint[], %(seqs)s::bigint[]) AS c(partition, seq)
CROSS JOIN LATERAL (
    SELECT * FROM feed WHERE feed.partition = c.partition AND feed.seq > c.seq ORDER BY feed.seq LIMIT %(limit)s
) f
ORDER BY f.partition, f.seq;

-- name: alerts_since
-- As feed_since, of one topic, for a reader who comes back.
SELECT f.partition, f.seq, (extract(epoch FROM f.at) * 1000000)::bigint, f.topic, f.kind, f.key,
       f.audience, f.visibility, f.addressees, f.body::text
FROM unnest(%(ids)s::smallint[], %(seqs)s::bigint[]) AS c(partition, seq)
CROSS JOIN LATERAL (
    SELECT * FROM feed WHERE feed.partition = c.partition AND feed.topic = 'alerts' AND feed.seq > c.seq
    ORDER BY feed.seq LIMIT %(limit)s
) f
ORDER BY f.partition, f.seq;

-- name: feed_position
-- Where the feed stands, under the instance's epoch.
SELECT epoch::text, (SELECT array_agg(id ORDER BY id) FROM partition), (SELECT array_agg(feed_seq ORDER BY id) FROM partition)
FROM instance;

-- name: feed_kept_from
-- The oldest row that is still there behind each place (none: null). Asked by the hub, whose policy shows every row.
SELECT c.partition, c.seq, p.feed_seq, (SELECT min(f.seq) FROM feed f WHERE f.partition = c.partition AND f.seq > c.seq)
FROM unnest(%(ids)s::smallint[], %(seqs)s::bigint[]) AS c(partition, seq) JOIN partition p ON p.id = c.partition;
