/* clearout--1.0.sql */

-- complain if script is sourced in psql, rather than via CREATE EXTENSION
\echo Use "CREATE EXTENSION clearout" to load this file. \quit

--
-- Tables
--

CREATE TABLE clearout_results (
	email			text COLLATE "C" PRIMARY KEY,
	status			text NOT NULL,
	safe_to_send	text,
	sub_status		integer,
	reason			text,
	bounce_type		text,
	disposable		boolean,
	free			boolean,
	role			boolean,
	gibberish		boolean,
	suggested_email	text,
	account			text,
	domain			text,
	mx_record		text,
	smtp_provider	text,
	ai_verdict		text,
	verified_at		timestamptz NOT NULL,
	time_taken		interval,
	source			text NOT NULL,
	raw				jsonb,
	asked_at		timestamptz,
	attempted_at	timestamptz,
	attempt_status	text,
	attempt_sub_status integer,
	attempt_reason	text,
	attempt_raw		jsonb
);

COMMENT ON TABLE clearout_results IS
'verdicts of the Clearout service, one row per e-mail address in normal form';
COMMENT ON COLUMN clearout_results.email IS
'the address as clearout_normalize() writes it';
COMMENT ON COLUMN clearout_results.status IS
'valid, invalid, catch_all or unknown; other words are possible';
COMMENT ON COLUMN clearout_results.safe_to_send IS
'yes, risky, no or unknown; other words are possible';
COMMENT ON COLUMN clearout_results.sub_status IS
'the service''s number for the reason, such as 406 (mailbox not found)';
COMMENT ON COLUMN clearout_results.reason IS
'the same in words, which vary; decide on sub_status';
COMMENT ON COLUMN clearout_results.bounce_type IS
'hard, soft, or null if no bounce is expected';
COMMENT ON COLUMN clearout_results.disposable IS
'is it an address of a throw-away service?';
COMMENT ON COLUMN clearout_results.free IS
'is it an address of a free provider?';
COMMENT ON COLUMN clearout_results.role IS
'does it belong to a role or group (info@, sales@)?';
COMMENT ON COLUMN clearout_results.gibberish IS
'does the local part look made up?';
COMMENT ON COLUMN clearout_results.suggested_email IS
'what may have been meant; not verified itself';
COMMENT ON COLUMN clearout_results.account IS
'the local part, as the service read it';
COMMENT ON COLUMN clearout_results.domain IS
'the domain, as the service read it';
COMMENT ON COLUMN clearout_results.mx_record IS
'the mail server of the domain';
COMMENT ON COLUMN clearout_results.smtp_provider IS
'who runs that mail server';
COMMENT ON COLUMN clearout_results.ai_verdict IS
'the service''s own sentence about the address';
COMMENT ON COLUMN clearout_results.verified_at IS
'when the service verified it; never in the future of this server''s clock';
COMMENT ON COLUMN clearout_results.time_taken IS
'how long the service took';
COMMENT ON COLUMN clearout_results.source IS
'instant: the answer of a call of its own';
COMMENT ON COLUMN clearout_results.raw IS
'the whole answer as the service gave it';
COMMENT ON COLUMN clearout_results.asked_at IS
'when the last call that brought a verdict began, by this server''s clock';
COMMENT ON COLUMN clearout_results.attempted_at IS
'when the last call about this address began that was answered';
COMMENT ON COLUMN clearout_results.attempt_status IS
'the status of that answer, where it said less than the verdict that is kept (unknown); else null';
COMMENT ON COLUMN clearout_results.attempt_sub_status IS
'likewise its number';
COMMENT ON COLUMN clearout_results.attempt_reason IS
'likewise its reason';
COMMENT ON COLUMN clearout_results.attempt_raw IS
'likewise the whole answer';

-- Answers that could not be stored at once, because another transaction held
-- the row or the table, or because the table refused them.  No unique index
-- but that of the key: nothing here waits for anybody.
CREATE TABLE clearout_spill (
	LIKE clearout_results INCLUDING COMMENTS,
	id				bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
	spilled_at		timestamptz NOT NULL DEFAULT now(),
	error			text
);
CREATE INDEX ON clearout_spill (email);

COMMENT ON TABLE clearout_spill IS
'answers that wait until they can be moved to clearout_results';
COMMENT ON COLUMN clearout_spill.id IS
'number of the row';
COMMENT ON COLUMN clearout_spill.spilled_at IS
'when it came here';
COMMENT ON COLUMN clearout_spill.error IS
'why clearout_results refused it; null if it only was locked';

SELECT pg_catalog.pg_extension_config_dump('clearout_results', '');
SELECT pg_catalog.pg_extension_config_dump('clearout_spill', '');
SELECT pg_catalog.pg_extension_config_dump(
	pg_catalog.pg_get_serial_sequence('clearout_spill', 'id'), '');

--
-- Addresses
--

CREATE FUNCTION clearout_normalize(email text)
RETURNS text
AS 'MODULE_PATHNAME', 'clearout_normalize'
LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 2;
COMMENT ON FUNCTION clearout_normalize(text) IS
'normal form of an e-mail address; null if it is malformed';

CREATE FUNCTION clearout_syntax_error(email text)
RETURNS text
AS 'MODULE_PATHNAME', 'clearout_syntax_error'
LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 2;
COMMENT ON FUNCTION clearout_syntax_error(text) IS
'what is malformed about an e-mail address; null if nothing is';

--
-- Verification
--

CREATE TYPE clearout_result AS (
	email			text,
	status			text,
	safe_to_send	text,
	sub_status		integer,
	reason			text,
	bounce_type		text,
	disposable		boolean,
	free			boolean,
	role			boolean,
	gibberish		boolean,
	suggested_email	text,
	account			text,
	domain			text,
	mx_record		text,
	smtp_provider	text,
	ai_verdict		text,
	verified_at		timestamptz,
	time_taken		interval,
	source			text,
	raw				jsonb
);
COMMENT ON TYPE clearout_result IS
'what is known about an e-mail address; source says where from: service, stored, local or none';

CREATE FUNCTION clearout_verify(
	email text,
	timeout interval DEFAULT NULL,
	max_age interval DEFAULT NULL,
	on_error text DEFAULT NULL)
RETURNS clearout_result
AS 'MODULE_PATHNAME', 'clearout_verify'
LANGUAGE C VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE COST 1000000;
COMMENT ON FUNCTION clearout_verify(text, interval, interval, text) IS
'verdict on an e-mail address: the stored one if it is fresh, else asks the Clearout service and waits; costs a credit then';

CREATE FUNCTION clearout_verify(
	emails text[],
	timeout interval DEFAULT NULL,
	max_age interval DEFAULT NULL,
	on_error text DEFAULT NULL)
RETURNS TABLE (
	"position"		integer,
	input			text,
	email			text,
	status			text,
	safe_to_send	text,
	sub_status		integer,
	reason			text,
	bounce_type		text,
	disposable		boolean,
	free			boolean,
	role			boolean,
	gibberish		boolean,
	suggested_email	text,
	account			text,
	domain			text,
	mx_record		text,
	smtp_provider	text,
	ai_verdict		text,
	verified_at		timestamptz,
	time_taken		interval,
	source			text,
	raw				jsonb)
AS 'MODULE_PATHNAME', 'clearout_verify_array'
LANGUAGE C VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE COST 1000000 ROWS 100;
COMMENT ON FUNCTION clearout_verify(text[], interval, interval, text) IS
'the same for many addresses, asked all together: one row per element, in their order';

--
-- Operation
--

CREATE FUNCTION clearout_status_info(
	OUT worker_pid integer,
	OUT state text,
	OUT reason text,
	OUT since timestamptz,
	OUT restarts bigint,
	OUT requests_waiting integer,
	OUT calls_in_flight integer,
	OUT answers_unstored integer,
	OUT spilled boolean,
	OUT slots_used integer,
	OUT slots_total integer,
	OUT rate_limit integer,
	OUT rate_remaining integer,
	OUT rate_resets_in interval,
	OUT calls bigint,
	OUT answers bigint,
	OUT joined bigint,
	OUT faults bigint,
	OUT last_error text,
	OUT last_error_at timestamptz)
RETURNS record
AS 'MODULE_PATHNAME', 'clearout_status_info'
LANGUAGE C VOLATILE STRICT PARALLEL RESTRICTED;
COMMENT ON FUNCTION clearout_status_info() IS
'what the view clearout_status shows';

CREATE VIEW clearout_status AS
	SELECT * FROM clearout_status_info();
COMMENT ON VIEW clearout_status IS
'the worker of this database: is it there, what does it do, what hinders it';
COMMENT ON COLUMN clearout_status.worker_pid IS
'process of the worker; null if there is none';
COMMENT ON COLUMN clearout_status.state IS
'running, not configured, paused, storing failed, starting, backoff, no worker, not preloaded';
COMMENT ON COLUMN clearout_status.reason IS
'why no work is done; null if it is';
COMMENT ON COLUMN clearout_status.since IS
'when the worker started or ended';
COMMENT ON COLUMN clearout_status.restarts IS
'how often the worker had to be replaced since the server started';
COMMENT ON COLUMN clearout_status.requests_waiting IS
'sessions of this database that wait for an answer';
COMMENT ON COLUMN clearout_status.calls_in_flight IS
'calls sent and not answered yet';
COMMENT ON COLUMN clearout_status.answers_unstored IS
'answers in the worker''s memory that could not be stored yet';
COMMENT ON COLUMN clearout_status.spilled IS
'do answers wait in clearout_spill?';
COMMENT ON COLUMN clearout_status.slots_used IS
'request slots in use on the whole server';
COMMENT ON COLUMN clearout_status.slots_total IS
'clearout.request_slots';
COMMENT ON COLUMN clearout_status.rate_limit IS
'verify calls that the plan allows per window; null until an answer has told';
COMMENT ON COLUMN clearout_status.rate_remaining IS
'verify calls left in the current window, as far as known';
COMMENT ON COLUMN clearout_status.rate_resets_in IS
'time until the current window ends, as far as known';
COMMENT ON COLUMN clearout_status.calls IS
'calls made since the server started';
COMMENT ON COLUMN clearout_status.answers IS
'answers stored since the server started';
COMMENT ON COLUMN clearout_status.joined IS
'requests that shared the call of another since the server started';
COMMENT ON COLUMN clearout_status.faults IS
'calls that failed since the server started';
COMMENT ON COLUMN clearout_status.last_error IS
'the last failure, without any address';
COMMENT ON COLUMN clearout_status.last_error_at IS
'when that was';

--
-- Privileges.  Nothing that spends credits or reads addresses is for PUBLIC.
--

REVOKE ALL ON clearout_results, clearout_spill, clearout_status FROM PUBLIC;
REVOKE ALL ON FUNCTION clearout_verify(text, interval, interval, text),
	clearout_verify(text[], interval, interval, text),
	clearout_status_info() FROM PUBLIC;
GRANT SELECT ON clearout_status TO pg_monitor;
GRANT EXECUTE ON FUNCTION clearout_status_info() TO pg_monitor;

-- What each word of clearout_grant() stands for, as the commands that do it.
-- One place, so that grant and revoke cannot drift apart.
CREATE FUNCTION clearout_privileges(what text)
RETURNS TABLE (privilege text, object text)
LANGUAGE plpgsql STABLE STRICT
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	schema_name name;
BEGIN
	SELECT n.nspname INTO STRICT schema_name
	FROM pg_extension e JOIN pg_namespace n ON n.oid = e.extnamespace
	WHERE e.extname = 'clearout';

	IF what NOT IN ('verify', 'read', 'admin') THEN
		RAISE EXCEPTION 'unknown privilege "%"', what
			USING ERRCODE = 'invalid_parameter_value',
				HINT = 'Use "verify", "read" or "admin".';
	END IF;

	RETURN QUERY
	SELECT 'EXECUTE', format('FUNCTION %I.clearout_verify(%s, interval, interval, text)', schema_name, t)
	FROM unnest(ARRAY['text', 'text[]']) AS t
	WHERE what IN ('verify', 'admin')
	UNION ALL
	SELECT 'SELECT', format('TABLE %I.%I', schema_name, t)
	FROM unnest(ARRAY['clearout_results', 'clearout_spill', 'clearout_status']) AS t
	WHERE what IN ('read', 'admin')
	UNION ALL
	SELECT 'EXECUTE', format('FUNCTION %I.clearout_status_info()', schema_name)
	WHERE what IN ('read', 'admin')
	UNION ALL
	SELECT 'INSERT, UPDATE, DELETE', format('TABLE %I.%I', schema_name, t)
	FROM unnest(ARRAY['clearout_results', 'clearout_spill']) AS t
	WHERE what = 'admin';
END;
$$;
COMMENT ON FUNCTION clearout_privileges(text) IS
'the privileges that a word of clearout_grant() stands for';
REVOKE ALL ON FUNCTION clearout_privileges(text) FROM PUBLIC;

CREATE FUNCTION clearout_grant(role regrole, what text)
RETURNS void
LANGUAGE plpgsql VOLATILE STRICT
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	schema_name name;
	entry record;
BEGIN
	SELECT n.nspname INTO STRICT schema_name
	FROM pg_extension e JOIN pg_namespace n ON n.oid = e.extnamespace
	WHERE e.extname = 'clearout';

	EXECUTE format('GRANT USAGE ON SCHEMA %I TO %s', schema_name, role);
	FOR entry IN EXECUTE format('SELECT * FROM %I.clearout_privileges($1)', schema_name) USING what
	LOOP
		EXECUTE format('GRANT %s ON %s TO %s', entry.privilege, entry.object, role);
	END LOOP;
END;
$$;
COMMENT ON FUNCTION clearout_grant(regrole, text) IS
'let a role verify addresses (verify), read stored answers (read), or both and change them (admin)';
REVOKE ALL ON FUNCTION clearout_grant(regrole, text) FROM PUBLIC;

CREATE FUNCTION clearout_revoke(role regrole, what text)
RETURNS void
LANGUAGE plpgsql VOLATILE STRICT
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	schema_name name;
	entry record;
BEGIN
	SELECT n.nspname INTO STRICT schema_name
	FROM pg_extension e JOIN pg_namespace n ON n.oid = e.extnamespace
	WHERE e.extname = 'clearout';

	FOR entry IN EXECUTE format('SELECT * FROM %I.clearout_privileges($1)', schema_name) USING what
	LOOP
		EXECUTE format('REVOKE %s ON %s FROM %s', entry.privilege, entry.object, role);
	END LOOP;
END;
$$;
COMMENT ON FUNCTION clearout_revoke(regrole, text) IS
'take back what clearout_grant() gave; the right to use the schema stays';
REVOKE ALL ON FUNCTION clearout_revoke(regrole, text) FROM PUBLIC;
