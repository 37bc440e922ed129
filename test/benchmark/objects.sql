-- What test/bench needs in each of its databases.

-- Addresses as customers have them; the client makes the same ones.
CREATE FUNCTION bench_address(prefix text, number bigint) RETURNS text
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN prefix || number || '@mail' || number % 1000 || '.example';

-- Waits until the worker has stored so many answers since the server's start,
-- or the time is over; returns how many it has and when that was seen.
CREATE FUNCTION bench_wait(target bigint, seconds float8, OUT stored bigint, OUT at timestamptz)
LANGUAGE plpgsql AS $$
DECLARE
	deadline timestamptz := clock_timestamp() + seconds * interval '1 second';
	before bigint := -1;
	moved_at timestamptz;
BEGIN
	LOOP
		SELECT i.answers, clock_timestamp() INTO stored, at FROM clearout_status_info() i;
		EXIT WHEN stored >= target OR at >= deadline;
		IF stored > before THEN
			before := stored;
			moved_at := at;
		ELSIF at > moved_at + interval '20 seconds' THEN
			RAISE 'nothing was stored for 20 s' USING DETAIL = (SELECT i::text FROM clearout_status_info() i);
		END IF;
		PERFORM pg_sleep(0.005);
	END LOOP;
END
$$;

-- Until the queue's calls under way have landed too.
CREATE FUNCTION bench_wait_idle() RETURNS void
LANGUAGE plpgsql AS $$
BEGIN
	FOR i IN 1..3000 LOOP
		IF (SELECT calls_in_flight = 0 AND answers_unstored = 0 FROM clearout_status_info()) THEN
			RETURN;
		END IF;
		PERFORM pg_sleep(0.01);
	END LOOP;
	RAISE 'calls are still in flight after 30 s';
END
$$;

-- Follows a job of one list to its end: how long it has been on its way up, at
-- the service, on its way down and into the results, and compared with the spool.
CREATE FUNCTION bench_follow(followed bigint, OUT upload float8, OUT service float8, OUT import float8, OUT finish float8)
LANGUAGE plpgsql AS $$
DECLARE
	words text[] := ARRAY['running', 'downloading', 'stored', 'done'];
	seconds float8[] := ARRAY[0, 0, 0, 0];
	begun timestamptz := clock_timestamp();
	reached integer := 0;
	place integer;
	state text;
	error text;
BEGIN
	FOR i IN 1..120000 LOOP
		SELECT p.state, p.error INTO state, error FROM clearout_parts p WHERE p.job = followed;
		place := coalesce(array_position(words, state), reached);
		WHILE reached < place LOOP
			reached := reached + 1;
			seconds[reached] := extract(epoch FROM clock_timestamp() - begun);
		END LOOP;
		EXIT WHEN state IN ('done', 'failed', 'cancelled');
		PERFORM pg_sleep(0.005);
	END LOOP;
	IF state IS DISTINCT FROM 'done' THEN
		RAISE 'the list is % after % s', state, extract(epoch FROM clock_timestamp() - begun) USING DETAIL = error;
	END IF;
	upload := seconds[1];
	service := seconds[2] - seconds[1];
	import := seconds[3] - seconds[2];
	finish := seconds[4] - seconds[3];
END
$$;

CREATE TABLE reference_answer (email text PRIMARY KEY, answer text);
