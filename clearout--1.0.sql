/* clearout--1.0.sql */

-- complain if script is sourced in psql, rather than via CREATE EXTENSION
\echo Use "CREATE EXTENSION clearout" to load this file. \quit

-- Others may be able to create objects in this schema, and have done so before.
-- So operators and functions that are named without a schema are given just the
-- types that they are for, and no function relies on its defaults: else one of
-- theirs could fit better.

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

CREATE FUNCTION clearout_origin()
RETURNS bigint
AS 'MODULE_PATHNAME', 'clearout_origin'
LANGUAGE C STABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION clearout_origin() IS
'what tells this database from its copies';

-- Rows are taken by priority and id.  They leave when they are answered; what
-- failed for good stays with its error.
CREATE TABLE clearout_queue (
	priority		integer NOT NULL DEFAULT 0 CHECK (priority BETWEEN -9 AND 9),
	-- in steps: a load takes one number for each hundred rows, and counts on
	id				bigint GENERATED ALWAYS AS IDENTITY (INCREMENT BY 100),
	email			text COLLATE "C",
	accepts_since	timestamptz NOT NULL DEFAULT now(),
	-- a name as text: it would be a third of the row
	requested_by	text COLLATE "C" NOT NULL DEFAULT current_user,
	enqueued_at		timestamptz NOT NULL DEFAULT now(),
	origin			bigint NOT NULL DEFAULT clearout_origin(),
	attempts		integer NOT NULL DEFAULT 0,
	next_attempt_at	timestamptz,
	maybe_paid		boolean NOT NULL DEFAULT false,
	failed_at		timestamptz,
	last_error		text,
	name			text COLLATE "C",
	domain			text COLLATE "C",
	queue_id		text,
	sought_since	timestamptz,
	PRIMARY KEY (priority, id),
	CONSTRAINT clearout_queue_kind_check
		CHECK ((email IS NULL) = (name IS NOT NULL) AND (name IS NULL) = (domain IS NULL))
) WITH (
	-- it lives on being emptied: vacuum often, however long it gets
	autovacuum_vacuum_scale_factor = 0.0, autovacuum_vacuum_threshold = 20000,
	autovacuum_analyze_scale_factor = 0.2, autovacuum_vacuum_insert_scale_factor = 1.0
);
-- Hardly ever are two alike.
CREATE INDEX ON clearout_queue (email) WITH (deduplicate_items = off);
CREATE INDEX ON clearout_queue (next_attempt_at)
	WHERE next_attempt_at IS NOT NULL AND failed_at IS NULL AND email IS NOT NULL;

-- Rows that want somebody found go by indexes of their own, so that neither
-- kind passes over the other's rows.  The sign keeps the planner from taking
-- the primary key, where all addresses are as well.
CREATE INDEX clearout_queue_find ON clearout_queue ((- priority), id)
	WHERE email IS NULL;
CREATE INDEX clearout_queue_find_due ON clearout_queue (next_attempt_at)
	WHERE next_attempt_at IS NOT NULL AND failed_at IS NULL AND email IS NULL;
CREATE INDEX clearout_queue_find_key ON clearout_queue (name, domain)
	WHERE email IS NULL;

COMMENT ON TABLE clearout_queue IS
'addresses that wait to be verified, and people whose address is to be found';
COMMENT ON COLUMN clearout_queue.priority IS
'from -9 to 9; the higher is taken first';
COMMENT ON COLUMN clearout_queue.id IS
'number of the row; the sequence counts in hundreds';
COMMENT ON COLUMN clearout_queue.email IS
'the address; null in a row that wants somebody found';
COMMENT ON COLUMN clearout_queue.accepts_since IS
'an answer that was asked for since then will do';
COMMENT ON COLUMN clearout_queue.requested_by IS
'the role that put it here, and pays; once a search is under way, the one that began it';
COMMENT ON COLUMN clearout_queue.enqueued_at IS
'when it was put here';
COMMENT ON COLUMN clearout_queue.origin IS
'the database that it was put into; a copy leaves it alone until clearout_resume()';
COMMENT ON COLUMN clearout_queue.attempts IS
'calls made for it that failed';
COMMENT ON COLUMN clearout_queue.next_attempt_at IS
'it waits until then; null: it is due';
COMMENT ON COLUMN clearout_queue.maybe_paid IS
'a call for it may have been charged although its answer was lost';
COMMENT ON COLUMN clearout_queue.failed_at IS
'when it failed for good; null: it did not';
COMMENT ON COLUMN clearout_queue.last_error IS
'why the last call failed';
COMMENT ON COLUMN clearout_queue.name IS
'whose address is to be found; null in a row that wants an address verified';
COMMENT ON COLUMN clearout_queue.domain IS
'at which domain or company';
COMMENT ON COLUMN clearout_queue.queue_id IS
'under which the service goes on seeking; null if it does not';
COMMENT ON COLUMN clearout_queue.sought_since IS
'when that began';

CREATE FUNCTION clearout_queue_note()
RETURNS trigger
AS 'MODULE_PATHNAME', 'clearout_queue_note'
LANGUAGE C;
COMMENT ON FUNCTION clearout_queue_note() IS
'has the worker woken when the transaction commits';
CREATE TRIGGER clearout_queue_note BEFORE INSERT ON clearout_queue
	FOR EACH STATEMENT EXECUTE FUNCTION clearout_queue_note();
COMMENT ON TRIGGER clearout_queue_note ON clearout_queue IS
'has the worker woken when the transaction commits';

CREATE TABLE clearout_control (
	only_row		boolean PRIMARY KEY DEFAULT true CHECK (only_row),
	paused			boolean NOT NULL DEFAULT false,
	changed_at		timestamptz NOT NULL DEFAULT now(),
	changed_by		name NOT NULL DEFAULT current_user
);
INSERT INTO clearout_control DEFAULT VALUES;

COMMENT ON TABLE clearout_control IS
'what clearout_pause() and clearout_resume() set; one row';
COMMENT ON COLUMN clearout_control.only_row IS
'true';
COMMENT ON COLUMN clearout_control.paused IS
'does the queue stand still?';
COMMENT ON COLUMN clearout_control.changed_at IS
'since when';
COMMENT ON COLUMN clearout_control.changed_by IS
'by whom';

-- Not dumped: it is about the account as it is now, as this database sees it.
CREATE TABLE clearout_pauses (
	service			text PRIMARY KEY,
	cause			text NOT NULL,
	reason			text NOT NULL,
	since			timestamptz NOT NULL,
	until			timestamptz,
	http_status		integer NOT NULL,
	code			integer NOT NULL,
	own				boolean NOT NULL,
	confirmed		boolean NOT NULL
);

COMMENT ON TABLE clearout_pauses IS
'services that refuse all calls at present; written by the worker';
COMMENT ON COLUMN clearout_pauses.service IS
'verify, find, check, reverse, domain, name or other';
COMMENT ON COLUMN clearout_pauses.cause IS
'token, credits or daily limit';
COMMENT ON COLUMN clearout_pauses.reason IS
'what the service answered';
COMMENT ON COLUMN clearout_pauses.since IS
'when that was first met';
COMMENT ON COLUMN clearout_pauses.until IS
'when it ends, as far as known; null: when the cause is gone';
COMMENT ON COLUMN clearout_pauses.http_status IS
'the HTTP status of that answer';
COMMENT ON COLUMN clearout_pauses.code IS
'the number of the error in it; 0 if it had none';
COMMENT ON COLUMN clearout_pauses.own IS
'was a call of this service refused, or only one with the same token?';
COMMENT ON COLUMN clearout_pauses.confirmed IS
'does the account''s balance say the same?';

SELECT pg_catalog.pg_extension_config_dump('clearout_queue', '');
SELECT pg_catalog.pg_extension_config_dump(
	pg_catalog.pg_get_serial_sequence('clearout_queue', 'id'), '');

--
-- Finder and look-ups: tables
--

CREATE TABLE clearout_people (
	asked_name		text COLLATE "C" NOT NULL,
	asked_domain	text COLLATE "C" NOT NULL,
	status			text NOT NULL,
	email			text,
	role			boolean,
	business		boolean,
	emails			text[],
	first_name		text,
	last_name		text,
	full_name		text,
	domain			text,
	company			text,
	confidence_score integer,
	credits_charged	integer,
	found_at		timestamptz NOT NULL,
	source			text NOT NULL,
	raw				jsonb,
	asked_at		timestamptz,
	PRIMARY KEY (asked_name, asked_domain)
);

COMMENT ON TABLE clearout_people IS
'what the finder of the Clearout service has answered, one row per name and domain in normal form';
COMMENT ON COLUMN clearout_people.asked_name IS
'the name that was asked for, in lower case with single blanks';
COMMENT ON COLUMN clearout_people.asked_domain IS
'the domain as lower-case A-labels, or the name of the company, written as above';
COMMENT ON COLUMN clearout_people.status IS
'found or not_found; not to be found is an answer too, and free of charge';
COMMENT ON COLUMN clearout_people.email IS
'the address that was found, the first if there are several';
COMMENT ON COLUMN clearout_people.role IS
'does it belong to a role or group (info@, sales@)?';
COMMENT ON COLUMN clearout_people.business IS
'is it an address at the domain of a company?';
COMMENT ON COLUMN clearout_people.emails IS
'all addresses that were found';
COMMENT ON COLUMN clearout_people.first_name IS
'the first name, as the service read it';
COMMENT ON COLUMN clearout_people.last_name IS
'the last name, as the service read it';
COMMENT ON COLUMN clearout_people.full_name IS
'the whole name, as the service read it';
COMMENT ON COLUMN clearout_people.domain IS
'the domain, as the service read it or found it for the company';
COMMENT ON COLUMN clearout_people.company IS
'the company';
COMMENT ON COLUMN clearout_people.confidence_score IS
'how sure the service is, from 0 to 100';
COMMENT ON COLUMN clearout_people.credits_charged IS
'what it cost, where the service says so';
COMMENT ON COLUMN clearout_people.found_at IS
'when the service found it, or that there is nothing; never in the future of this server''s clock';
COMMENT ON COLUMN clearout_people.source IS
'instant: the answer of a call of its own; bulk: a row of a list';
COMMENT ON COLUMN clearout_people.raw IS
'the whole answer as the service gave it; null if it gave none, and of a row of a list';
COMMENT ON COLUMN clearout_people.asked_at IS
'when the last call that brought an answer began, by this server''s clock';

CREATE TABLE clearout_lookups (
	kind			text COLLATE "C" NOT NULL,
	key				text COLLATE "C" NOT NULL,
	found			boolean NOT NULL,
	flag			boolean,
	answer			jsonb,
	answered_at		timestamptz NOT NULL,
	asked_at		timestamptz,
	PRIMARY KEY (kind, key)
);

COMMENT ON TABLE clearout_lookups IS
'answers of the Clearout service to single checks and look-ups, one row per kind and what was asked in normal form';
COMMENT ON COLUMN clearout_lookups.kind IS
'catchall, disposable, business, free, role, gibberish, reverse_email, reverse_linkedin, reverse_domain, autocomplete, mx, whois, name; credits and account_...: what was told last';
COMMENT ON COLUMN clearout_lookups.key IS
'what was asked: address, domain, URL of a profile, name';
COMMENT ON COLUMN clearout_lookups.found IS
'does the service know something? That it does not is an answer too';
COMMENT ON COLUMN clearout_lookups.flag IS
'of a single check: yes or no';
COMMENT ON COLUMN clearout_lookups.answer IS
'the whole answer as the service gave it; null if it gave none';
COMMENT ON COLUMN clearout_lookups.answered_at IS
'when the service looked it up; never in the future of this server''s clock';
COMMENT ON COLUMN clearout_lookups.asked_at IS
'when the last call that brought an answer began, by this server''s clock';

-- The same as clearout_spill for these two tables; kind "find" stands for
-- clearout_people, with name and domain, separated by U+001F, as the key; of a
-- row of a list, the answer is put together in the shape of the others.
CREATE TABLE clearout_lookup_spill (
	LIKE clearout_lookups INCLUDING COMMENTS,
	id				bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
	spilled_at		timestamptz NOT NULL DEFAULT now(),
	error			text
);
CREATE INDEX ON clearout_lookup_spill (kind, key);

COMMENT ON TABLE clearout_lookup_spill IS
'answers that wait until they can be moved to clearout_people or clearout_lookups';
COMMENT ON COLUMN clearout_lookup_spill.id IS
'number of the row';
COMMENT ON COLUMN clearout_lookup_spill.spilled_at IS
'when it came here';
COMMENT ON COLUMN clearout_lookup_spill.error IS
'why its table refused it; null if it only was locked';

-- What the account was told last is of no use elsewhere.
SELECT pg_catalog.pg_extension_config_dump('clearout_people', '');
SELECT pg_catalog.pg_extension_config_dump('clearout_lookups',
	'WHERE kind NOT IN (''credits'', ''account_credits'', ''account_limits'', ''account_plan'')');
SELECT pg_catalog.pg_extension_config_dump('clearout_lookup_spill', '');
SELECT pg_catalog.pg_extension_config_dump(
	pg_catalog.pg_get_serial_sequence('clearout_lookup_spill', 'id'), '');

--
-- Budgets and usage
--

CREATE TABLE clearout_budgets (
	role			name PRIMARY KEY,
	credits_per_day	bigint NOT NULL CHECK (credits_per_day >= 0),
	changed_at		timestamptz NOT NULL DEFAULT now(),
	changed_by		name NOT NULL DEFAULT current_user
);

COMMENT ON TABLE clearout_budgets IS
'what roles may spend a day; see clearout_set_budget()';
COMMENT ON COLUMN clearout_budgets.role IS
'name of the role; a role that is renamed has no budget';
COMMENT ON COLUMN clearout_budgets.credits_per_day IS
'credits that its calls may cost on one day of UTC';
COMMENT ON COLUMN clearout_budgets.changed_at IS
'since when';
COMMENT ON COLUMN clearout_budgets.changed_by IS
'by whom';

CREATE FUNCTION clearout_budgets_note()
RETURNS trigger
AS 'MODULE_PATHNAME', 'clearout_budgets_note'
LANGUAGE C;
COMMENT ON FUNCTION clearout_budgets_note() IS
'has the worker read the budgets when the transaction commits';
CREATE TRIGGER clearout_budgets_note AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON clearout_budgets
	FOR EACH STATEMENT EXECUTE FUNCTION clearout_budgets_note();
COMMENT ON TRIGGER clearout_budgets_note ON clearout_budgets IS
'has the worker read the budgets when the transaction commits';

-- It only grows at its end, and the worker adds it up now and then: nothing
-- here waits for anybody, and no old snapshot makes it slow.
CREATE TABLE clearout_usage_parts (
	day				date NOT NULL,
	id				bigint GENERATED ALWAYS AS IDENTITY,
	service			text NOT NULL,
	role			name NOT NULL,
	origin			bigint NOT NULL DEFAULT clearout_origin(),
	calls			bigint NOT NULL,
	valid			bigint NOT NULL,
	invalid			bigint NOT NULL,
	catch_all		bigint NOT NULL,
	unknown			bigint NOT NULL,
	other			bigint NOT NULL,
	faults			bigint NOT NULL,
	credits			bigint NOT NULL,
	PRIMARY KEY (day, id)
);

COMMENT ON TABLE clearout_usage_parts IS
'what clearout_usage adds up';
COMMENT ON COLUMN clearout_usage_parts.day IS
'day of UTC on which the calls began';
COMMENT ON COLUMN clearout_usage_parts.id IS
'number of the row';
COMMENT ON COLUMN clearout_usage_parts.service IS
'verify, find, check, reverse, domain, name, other or public';
COMMENT ON COLUMN clearout_usage_parts.role IS
'who caused the calls';
COMMENT ON COLUMN clearout_usage_parts.origin IS
'the database that made them; those of another count against no budget here';
COMMENT ON COLUMN clearout_usage_parts.calls IS
'calls that the service may have seen';
COMMENT ON COLUMN clearout_usage_parts.valid IS
'answers with this status';
COMMENT ON COLUMN clearout_usage_parts.invalid IS
'answers with this status';
COMMENT ON COLUMN clearout_usage_parts.catch_all IS
'answers with this status';
COMMENT ON COLUMN clearout_usage_parts.unknown IS
'answers with this status, which are free of charge';
COMMENT ON COLUMN clearout_usage_parts.other IS
'other answers';
COMMENT ON COLUMN clearout_usage_parts.faults IS
'calls without an answer: refused, failed, lost or not sent';
COMMENT ON COLUMN clearout_usage_parts.credits IS
'credits that these calls have cost, as an estimate';

SELECT pg_catalog.pg_extension_config_dump('clearout_budgets', '');
SELECT pg_catalog.pg_extension_config_dump('clearout_usage_parts', '');
SELECT pg_catalog.pg_extension_config_dump(
	pg_catalog.pg_get_serial_sequence('clearout_usage_parts', 'id'), '');

CREATE VIEW clearout_usage AS
	SELECT day, service, role, origin = clearout_origin() AS own,
		sum(calls)::bigint AS calls, sum(valid)::bigint AS valid,
		sum(invalid)::bigint AS invalid, sum(catch_all)::bigint AS catch_all,
		sum(unknown)::bigint AS unknown, sum(other)::bigint AS other,
		sum(faults)::bigint AS faults, sum(credits)::bigint AS credits
	FROM clearout_usage_parts
	GROUP BY day, service, role, origin = clearout_origin();

COMMENT ON VIEW clearout_usage IS
'calls, answers and credits, per day, service and role';
COMMENT ON COLUMN clearout_usage.day IS
'day of UTC on which the calls began';
COMMENT ON COLUMN clearout_usage.service IS
'verify, find, check, reverse, domain, name, other or public';
COMMENT ON COLUMN clearout_usage.role IS
'who caused the calls';
COMMENT ON COLUMN clearout_usage.own IS
'were they made by this database, and not by the one that it is a copy of?';
COMMENT ON COLUMN clearout_usage.calls IS
'calls that the service may have seen';
COMMENT ON COLUMN clearout_usage.valid IS
'answers with this status';
COMMENT ON COLUMN clearout_usage.invalid IS
'answers with this status';
COMMENT ON COLUMN clearout_usage.catch_all IS
'answers with this status';
COMMENT ON COLUMN clearout_usage.unknown IS
'answers with this status, which are free of charge';
COMMENT ON COLUMN clearout_usage.other IS
'other answers';
COMMENT ON COLUMN clearout_usage.faults IS
'calls without an answer: refused, failed, lost or not sent';
COMMENT ON COLUMN clearout_usage.credits IS
'credits that these calls have cost, as an estimate: test addresses are free, but count';

CREATE FUNCTION clearout_set_budget(role regrole, credits_per_day bigint)
RETURNS void
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	schema_name name;
	role_name name;
BEGIN
	SELECT r.rolname INTO role_name FROM pg_roles r WHERE r.oid = role;
	IF role_name IS NULL THEN
		RAISE EXCEPTION 'role does not exist'
			USING ERRCODE = 'undefined_object';
	END IF;
	IF credits_per_day < 0 THEN
		RAISE EXCEPTION 'a budget must not be negative'
			USING ERRCODE = 'invalid_parameter_value',
				HINT = 'NULL ends a budget.';
	END IF;
	SELECT n.nspname INTO STRICT schema_name
	FROM pg_extension e JOIN pg_namespace n ON n.oid = e.extnamespace
	WHERE e.extname = 'clearout';

	IF credits_per_day IS NULL THEN
		EXECUTE format('DELETE FROM %I.clearout_budgets WHERE role = $1', schema_name)
			USING role_name;
	ELSE
		EXECUTE format('INSERT INTO %I.clearout_budgets (role, credits_per_day) VALUES ($1, $2)'
			' ON CONFLICT (role) DO UPDATE SET credits_per_day = $2, changed_at = now(),'
			' changed_by = current_user', schema_name)
			USING role_name, credits_per_day;
	END IF;
END;
$$;
COMMENT ON FUNCTION clearout_set_budget(regrole, bigint) IS
'bound what the calls of a role may cost on one day of UTC; null: no bound';
REVOKE ALL ON FUNCTION clearout_budgets_note(), clearout_set_budget(regrole, bigint) FROM PUBLIC;

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
COMMENT ON COLUMN clearout_result.email IS
'the address in normal form; as it was given if it has none';
COMMENT ON COLUMN clearout_result.status IS
'valid, invalid, catch_all or unknown; other words are possible';
COMMENT ON COLUMN clearout_result.safe_to_send IS
'yes, risky, no or unknown; other words are possible';
COMMENT ON COLUMN clearout_result.sub_status IS
'the service''s number for the reason, such as 406 (mailbox not found)';
COMMENT ON COLUMN clearout_result.reason IS
'the same in words, or why there is no answer';
COMMENT ON COLUMN clearout_result.bounce_type IS
'hard, soft, or null if no bounce is expected';
COMMENT ON COLUMN clearout_result.disposable IS
'is it an address of a throw-away service?';
COMMENT ON COLUMN clearout_result.free IS
'is it an address of a free provider?';
COMMENT ON COLUMN clearout_result.role IS
'does it belong to a role or group (info@, sales@)?';
COMMENT ON COLUMN clearout_result.gibberish IS
'does the local part look made up?';
COMMENT ON COLUMN clearout_result.suggested_email IS
'what may have been meant; not verified itself';
COMMENT ON COLUMN clearout_result.account IS
'the local part, as the service read it';
COMMENT ON COLUMN clearout_result.domain IS
'the domain, as the service read it';
COMMENT ON COLUMN clearout_result.mx_record IS
'the mail server of the domain';
COMMENT ON COLUMN clearout_result.smtp_provider IS
'who runs that mail server';
COMMENT ON COLUMN clearout_result.ai_verdict IS
'the service''s own sentence about the address';
COMMENT ON COLUMN clearout_result.verified_at IS
'when the service verified it; for a malformed address, now';
COMMENT ON COLUMN clearout_result.time_taken IS
'how long the service took';
COMMENT ON COLUMN clearout_result.source IS
'service: a call of this statement; stored: the table; local: malformed, no call; none: no answer';
COMMENT ON COLUMN clearout_result.raw IS
'the whole answer as the service gave it';

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
-- The queue
--

CREATE FUNCTION clearout_enqueue(email text, priority integer DEFAULT 0)
RETURNS boolean
AS 'MODULE_PATHNAME', 'clearout_enqueue'
LANGUAGE C VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE COST 1000;
COMMENT ON FUNCTION clearout_enqueue(text, integer) IS
'have an e-mail address verified some time after the commit; false if that is needless: a fresh answer is stored, it waits already, or it is malformed';

CREATE FUNCTION clearout_enqueue(emails text[], priority integer DEFAULT 0)
RETURNS bigint
AS 'MODULE_PATHNAME', 'clearout_enqueue_array'
LANGUAGE C VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE COST 100000;
COMMENT ON FUNCTION clearout_enqueue(text[], integer) IS
'the same for many; returns how many were put into the queue';

CREATE FUNCTION clearout_refresh(
	max_age interval DEFAULT NULL,
	max_rows bigint DEFAULT NULL,
	priority integer DEFAULT -1)
RETURNS bigint
AS 'MODULE_PATHNAME', 'clearout_refresh'
LANGUAGE C VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE COST 100000;
COMMENT ON FUNCTION clearout_refresh(interval, bigint, integer) IS
'put stored answers that are older into the queue, the oldest first; returns how many';

CREATE FUNCTION clearout_retry()
RETURNS bigint
AS 'MODULE_PATHNAME', 'clearout_retry'
LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE;
COMMENT ON FUNCTION clearout_retry() IS
'give all rows of the queue that failed for good another chance; returns how many';

CREATE FUNCTION clearout_pause()
RETURNS void
AS 'MODULE_PATHNAME', 'clearout_pause'
LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE;
COMMENT ON FUNCTION clearout_pause() IS
'have the queue stand still until clearout_resume(); clearout_verify() works on';

CREATE FUNCTION clearout_resume()
RETURNS bigint
AS 'MODULE_PATHNAME', 'clearout_resume'
LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE;
COMMENT ON FUNCTION clearout_resume() IS
'have the queue go on, with rows that came by copy or restore adopted; returns how many were';

--
-- Forgetting
--

-- Addresses are here from clearout_forget() until the worker has removed what
-- calls on the wire have brought: a moment, while it runs.
CREATE TABLE clearout_forgotten (
	id				bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
	email			text COLLATE "C" NOT NULL,
	forgotten_at	timestamptz NOT NULL DEFAULT now()
);

COMMENT ON TABLE clearout_forgotten IS
'addresses that the worker has still to forget';
COMMENT ON COLUMN clearout_forgotten.id IS
'number of the row';
COMMENT ON COLUMN clearout_forgotten.email IS
'the address';
COMMENT ON COLUMN clearout_forgotten.forgotten_at IS
'when clearout_forget() was called';

CREATE FUNCTION clearout_forget(email text)
RETURNS bigint
AS 'MODULE_PATHNAME', 'clearout_forget'
LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE;
COMMENT ON FUNCTION clearout_forget(text) IS
'remove all that is stored about an e-mail address, and drop answers that are under way; returns the number of rows';

CREATE FUNCTION clearout_expire(max_age interval, max_rows bigint DEFAULT NULL)
RETURNS bigint
AS 'MODULE_PATHNAME', 'clearout_expire'
LANGUAGE C VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE;
COMMENT ON FUNCTION clearout_expire(interval, bigint) IS
'remove stored answers of all kinds, and failed rows of the queue, that are older; returns the number of rows';

REVOKE ALL ON clearout_forgotten FROM PUBLIC;
REVOKE ALL ON FUNCTION clearout_forget(text), clearout_expire(interval, bigint) FROM PUBLIC;

--
-- In your own tables
--

CREATE FUNCTION clearout_verify_trigger()
RETURNS trigger
AS 'MODULE_PATHNAME', 'clearout_verify_trigger'
LANGUAGE C;
COMMENT ON FUNCTION clearout_verify_trigger() IS
'have the addresses of a table verified as they come: the first argument is their column, the others are options as name=value; acts as the owner of the table';

CREATE FUNCTION clearout_fresh_since(status text, max_age interval DEFAULT NULL)
RETURNS timestamptz
AS 'MODULE_PATHNAME', 'clearout_fresh_since'
LANGUAGE C STABLE CALLED ON NULL INPUT PARALLEL SAFE COST 2;
COMMENT ON FUNCTION clearout_fresh_since(text, interval) IS
'a stored answer of that status is fresh if it was verified or asked for no earlier than this; by the settings, or by another maximum age';

-- The planner puts its body in place of the call.  So it is not STRICT, sets
-- nothing, and runs with the caller's rights.
CREATE FUNCTION clearout_cached(email text)
RETURNS SETOF clearout_result
LANGUAGE sql STABLE CALLED ON NULL INPUT PARALLEL SAFE ROWS 1
BEGIN ATOMIC
	SELECT r.email, r.status, r.safe_to_send, r.sub_status, r.reason, r.bounce_type,
		r.disposable, r.free, r.role, r.gibberish, r.suggested_email, r.account,
		r.domain, r.mx_record, r.smtp_provider, r.ai_verdict, r.verified_at, r.time_taken,
		'stored'::text, r.raw
	FROM clearout_results AS r
	WHERE r.email = clearout_normalize(clearout_cached.email);
END;
COMMENT ON FUNCTION clearout_cached(text) IS
'the stored verdict on an e-mail address, however old; no row if there is none. For joins: FROM customer LEFT JOIN LATERAL clearout_cached(email) ON true';

CREATE FUNCTION clearout_unverified(
	"table" regclass,
	email_column name,
	max_age interval DEFAULT NULL)
RETURNS TABLE (email text, status text, verified_at timestamptz, waits boolean)
LANGUAGE plpgsql STABLE CALLED ON NULL INPUT PARALLEL RESTRICTED
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	schema_name name;
BEGIN
	IF "table" IS NULL OR email_column IS NULL THEN
		RETURN;
	END IF;
	SELECT n.nspname INTO STRICT schema_name
	FROM pg_extension e JOIN pg_namespace n ON n.oid = e.extnamespace
	WHERE e.extname = 'clearout';

	RETURN QUERY EXECUTE format(
		'SELECT a.email, r.status, greatest(r.verified_at, r.asked_at),
			EXISTS (SELECT FROM %1$I.clearout_queue q WHERE q.email = a.email AND q.failed_at IS NULL)
		FROM (SELECT DISTINCT %1$I.clearout_normalize(t.%3$I::text) COLLATE "C" FROM %2$s AS t) AS a (email)
			LEFT JOIN %1$I.clearout_results r ON r.email = a.email
		WHERE a.email IS NOT NULL
			AND (greatest(r.verified_at, r.asked_at) >= %1$I.clearout_fresh_since(r.status, $1)
				OR (r.attempt_status IS NOT NULL
					AND r.attempted_at >= %1$I.clearout_fresh_since(''unknown''::text, $1))) IS NOT TRUE
			AND NOT EXISTS (SELECT FROM %1$I.clearout_spill s
				WHERE s.email = a.email
					AND greatest(s.verified_at, s.asked_at) >= %1$I.clearout_fresh_since(s.status, $1))',
		schema_name, "table", email_column)
	USING max_age;
END;
$$;
COMMENT ON FUNCTION clearout_unverified(regclass, name, interval) IS
'the addresses of a table that have no fresh answer, each once and in normal form, with the stale answer and whether they wait in the queue';

-- One pass over clearout_results; the whole answers are not read.
CREATE VIEW clearout_summary AS
	SELECT r.status, r.safe_to_send,
		count(*) AS addresses,
		count(*) FILTER (WHERE greatest(r.verified_at, r.asked_at) >= clearout_fresh_since(r.status, NULL::interval)
			OR (r.attempt_status IS NOT NULL
				AND r.attempted_at >= clearout_fresh_since('unknown'::text, NULL::interval))) AS fresh,
		count(*) FILTER (WHERE r.disposable) AS disposable,
		count(*) FILTER (WHERE r.role) AS role,
		min(greatest(r.verified_at, r.asked_at)) AS oldest,
		max(greatest(r.verified_at, r.asked_at)) AS newest
	FROM clearout_results AS r
	GROUP BY r.status, r.safe_to_send;
COMMENT ON VIEW clearout_summary IS
'the stored verdicts in figures, by status and safe_to_send; reads all of clearout_results';
COMMENT ON COLUMN clearout_summary.status IS
'valid, invalid, catch_all, unknown';
COMMENT ON COLUMN clearout_summary.safe_to_send IS
'yes, risky, no, unknown';
COMMENT ON COLUMN clearout_summary.addresses IS
'how many there are';
COMMENT ON COLUMN clearout_summary.fresh IS
'how many of these would be taken without a call';
COMMENT ON COLUMN clearout_summary.disposable IS
'how many are of a throw-away service';
COMMENT ON COLUMN clearout_summary.role IS
'how many belong to a role or group';
COMMENT ON COLUMN clearout_summary.oldest IS
'when the oldest of them was verified';
COMMENT ON COLUMN clearout_summary.newest IS
'when the newest of them was verified';

REVOKE ALL ON clearout_summary FROM PUBLIC;
REVOKE ALL ON FUNCTION clearout_verify_trigger(), clearout_cached(text),
	clearout_unverified(regclass, name, interval) FROM PUBLIC;
-- Lists: jobs that the bulk API does
--

-- A job is spooled in the caller's transaction and split into parts, each a
-- list of the service.
CREATE TABLE clearout_jobs_data (
	job				bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
	kind			text NOT NULL DEFAULT 'verify' CHECK (kind IN ('verify', 'find')),
	requested_by	name NOT NULL DEFAULT current_user,
	created_at		timestamptz NOT NULL DEFAULT now(),
	origin			bigint NOT NULL DEFAULT clearout_origin(),
	optimize		text,
	remove_list		boolean NOT NULL DEFAULT false,
	from_queue		boolean NOT NULL DEFAULT false,
	rows_total		bigint NOT NULL DEFAULT 0,
	rows_null		bigint NOT NULL DEFAULT 0,
	rows_malformed	bigint NOT NULL DEFAULT 0,
	rows_duplicate	bigint NOT NULL DEFAULT 0,
	rows_fresh		bigint NOT NULL DEFAULT 0,
	rows_waiting	bigint NOT NULL DEFAULT 0,
	rows_spooled	bigint NOT NULL DEFAULT 0,
	cancelled_at	timestamptz,
	removed_at		timestamptz,
	finished_at		timestamptz
);
CREATE INDEX ON clearout_jobs_data (finished_at);

COMMENT ON TABLE clearout_jobs_data IS
'jobs of clearout_bulk_verify() and clearout_bulk_find(); see the view clearout_jobs';
COMMENT ON COLUMN clearout_jobs_data.job IS
'number of the job';
COMMENT ON COLUMN clearout_jobs_data.kind IS
'what is done with each row: verify or find';
COMMENT ON COLUMN clearout_jobs_data.requested_by IS
'the role that ordered it';
COMMENT ON COLUMN clearout_jobs_data.created_at IS
'when it was ordered';
COMMENT ON COLUMN clearout_jobs_data.origin IS
'the database that it was ordered in; a copy leaves it alone until clearout_resume()';
COMMENT ON COLUMN clearout_jobs_data.optimize IS
'what the service is to aim at: highest_accuracy or fastest_turnaround; null: its default, and for a find job';
COMMENT ON COLUMN clearout_jobs_data.remove_list IS
'are its lists removed at the service once they are stored here?';
COMMENT ON COLUMN clearout_jobs_data.from_queue IS
'made from rows of the queue (clearout.bulk_threshold); what stays unanswered goes back there';
COMMENT ON COLUMN clearout_jobs_data.rows_total IS
'rows given';
COMMENT ON COLUMN clearout_jobs_data.rows_null IS
'of these, null: left out';
COMMENT ON COLUMN clearout_jobs_data.rows_malformed IS
'malformed, or without a name or a domain: left out';
COMMENT ON COLUMN clearout_jobs_data.rows_duplicate IS
'given before in the same job: left out';
COMMENT ON COLUMN clearout_jobs_data.rows_fresh IS
'answered already, and the answer is fresh: left out';
COMMENT ON COLUMN clearout_jobs_data.rows_waiting IS
'in another job that is not finished, or sought by a single search that goes on: left out';
COMMENT ON COLUMN clearout_jobs_data.rows_spooled IS
'all others: to be sent';
COMMENT ON COLUMN clearout_jobs_data.cancelled_at IS
'when clearout_bulk_cancel() was called; null: it was not';
COMMENT ON COLUMN clearout_jobs_data.removed_at IS
'when clearout_bulk_remove() was called; it goes once its lists are removed at the service';
COMMENT ON COLUMN clearout_jobs_data.finished_at IS
'when the last of its parts was finished; null: it is under way';

-- The states are those of src/bulk.c, which draws how they follow each other.
-- No foreign keys here: pg_dump would not put the tables in their order, and
-- their triggers do not fire in the worker.
CREATE TABLE clearout_parts (
	job				bigint NOT NULL,
	part			integer NOT NULL,
	state			text NOT NULL DEFAULT 'spooled' CHECK (state IN ('spooled',
						'uploading', 'running', 'downloading', 'stored', 'done', 'failed', 'cancelled')),
	rows			integer NOT NULL,
	file_name		text,
	list_id			text,
	list_removed	boolean NOT NULL DEFAULT false,
	held			boolean NOT NULL DEFAULT false,
	cancel_sent		boolean NOT NULL DEFAULT false,
	uploaded_at		timestamptz,
	percent			integer NOT NULL DEFAULT 0,
	file_bytes		bigint,
	bytes_stored	bigint NOT NULL DEFAULT 0,
	rows_read		bigint NOT NULL DEFAULT 0,
	rows_answered	bigint NOT NULL DEFAULT 0,
	rows_undone		bigint NOT NULL DEFAULT 0,
	rows_broken		bigint NOT NULL DEFAULT 0,
	broken			text,
	rows_cleared	integer NOT NULL DEFAULT 0,
	rows_unanswered	integer NOT NULL DEFAULT 0,
	credits			bigint NOT NULL DEFAULT 0,
	attempts		integer NOT NULL DEFAULT 0,
	error			text,
	changed_at		timestamptz NOT NULL DEFAULT now(),
	PRIMARY KEY (job, part)
) WITH (fillfactor = 50);
CREATE INDEX ON clearout_parts (state)
	WHERE state NOT IN ('done', 'failed', 'cancelled');

COMMENT ON TABLE clearout_parts IS
'the parts of bulk jobs: each is one list of the service';
COMMENT ON COLUMN clearout_parts.job IS
'number of the job';
COMMENT ON COLUMN clearout_parts.part IS
'number of the part, from 1';
COMMENT ON COLUMN clearout_parts.state IS
'spooled, uploading, running, downloading, stored, done; or failed, cancelled';
COMMENT ON COLUMN clearout_parts.rows IS
'rows of it';
COMMENT ON COLUMN clearout_parts.file_name IS
'name under which it is uploaded, and by which it is found again; null: not yet';
COMMENT ON COLUMN clearout_parts.list_id IS
'the service''s name for the list; null: not yet known';
COMMENT ON COLUMN clearout_parts.list_removed IS
'was the list removed at the service?';
COMMENT ON COLUMN clearout_parts.held IS
'it waits for a decision, see error and clearout_bulk_resolve()';
COMMENT ON COLUMN clearout_parts.cancel_sent IS
'was the service told to cancel the list?';
COMMENT ON COLUMN clearout_parts.uploaded_at IS
'when its upload began';
COMMENT ON COLUMN clearout_parts.percent IS
'how far the service is, by its own word';
COMMENT ON COLUMN clearout_parts.file_bytes IS
'length of the result file; null: not known';
COMMENT ON COLUMN clearout_parts.bytes_stored IS
'of these, read and stored';
COMMENT ON COLUMN clearout_parts.rows_read IS
'rows of the result file that were read';
COMMENT ON COLUMN clearout_parts.rows_answered IS
'of these, with an answer that was stored, or was older than what is stored';
COMMENT ON COLUMN clearout_parts.rows_undone IS
'of these, not done because the list was cancelled';
COMMENT ON COLUMN clearout_parts.rows_broken IS
'of these, not understood';
COMMENT ON COLUMN clearout_parts.broken IS
'what was wrong with the first of them';
COMMENT ON COLUMN clearout_parts.rows_cleared IS
'rows of the spool that were compared with the answers and cleared away';
COMMENT ON COLUMN clearout_parts.rows_unanswered IS
'of these, without an answer: they stay in clearout_spool';
COMMENT ON COLUMN clearout_parts.credits IS
'what its answers cost by the price list: a credit each but for unknown ones; 4 for each person found';
COMMENT ON COLUMN clearout_parts.attempts IS
'tries of the present step that failed';
COMMENT ON COLUMN clearout_parts.error IS
'why the last of them failed, or the part did';
COMMENT ON COLUMN clearout_parts.changed_at IS
'when it came into its state';

-- What is sent, until it is answered.  No unique index but that of the key.
CREATE TABLE clearout_spool (
	job				bigint NOT NULL,
	part			integer NOT NULL,
	"position"		integer NOT NULL,
	asked			text COLLATE "C" NOT NULL,
	PRIMARY KEY (job, part, "position")
);
CREATE INDEX ON clearout_spool (asked);

COMMENT ON TABLE clearout_spool IS
'what bulk jobs ask and is not answered yet';
COMMENT ON COLUMN clearout_spool.job IS
'number of the job';
COMMENT ON COLUMN clearout_spool.part IS
'number of the part';
COMMENT ON COLUMN clearout_spool."position" IS
'place within the part, from 1';
COMMENT ON COLUMN clearout_spool.asked IS
'the address; of a find job, name and domain with the character U+001F between them';

SELECT pg_catalog.pg_extension_config_dump('clearout_jobs_data', '');
SELECT pg_catalog.pg_extension_config_dump(
	pg_catalog.pg_get_serial_sequence('clearout_jobs_data', 'job'), '');
SELECT pg_catalog.pg_extension_config_dump('clearout_parts', '');
SELECT pg_catalog.pg_extension_config_dump('clearout_spool', '');

CREATE FUNCTION clearout_bulk_verify(
	query text,
	max_age interval DEFAULT NULL,
	optimize text DEFAULT NULL,
	remove_list boolean DEFAULT false)
RETURNS bigint
AS 'MODULE_PATHNAME', 'clearout_bulk_verify'
LANGUAGE C VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE COST 1000000;
COMMENT ON FUNCTION clearout_bulk_verify(text, interval, text, boolean) IS
'have the addresses that a query returns verified as a list, some time after the commit; returns the number of the job';

CREATE FUNCTION clearout_bulk_verify(
	emails text[],
	max_age interval DEFAULT NULL,
	optimize text DEFAULT NULL,
	remove_list boolean DEFAULT false)
RETURNS bigint
AS 'MODULE_PATHNAME', 'clearout_bulk_verify_array'
LANGUAGE C VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE COST 1000000;
COMMENT ON FUNCTION clearout_bulk_verify(text[], interval, text, boolean) IS
'the same for the addresses of an array';

CREATE FUNCTION clearout_bulk_find(
	query text,
	max_age interval DEFAULT NULL,
	remove_list boolean DEFAULT false)
RETURNS bigint
AS 'MODULE_PATHNAME', 'clearout_bulk_find'
LANGUAGE C VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE COST 1000000;
COMMENT ON FUNCTION clearout_bulk_find(text, interval, boolean) IS
'have the people found whose names and domains a query returns, as a list, some time after the commit; returns the number of the job';

CREATE FUNCTION clearout_bulk_cancel(job bigint)
RETURNS boolean
AS 'MODULE_PATHNAME', 'clearout_bulk_cancel'
LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE;
COMMENT ON FUNCTION clearout_bulk_cancel(bigint) IS
'end a job: what is not sent stays unsent, running lists are cancelled at the service, and what they have answered is stored; false if it is finished already';

CREATE FUNCTION clearout_bulk_remove(job bigint, remove_lists boolean DEFAULT true)
RETURNS void
AS 'MODULE_PATHNAME', 'clearout_bulk_remove'
LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE;
COMMENT ON FUNCTION clearout_bulk_remove(bigint, boolean) IS
'forget a finished job, and have its lists removed at the service; the answers stay';

CREATE FUNCTION clearout_bulk_resolve(job bigint, part integer, list_id text)
RETURNS void
AS 'MODULE_PATHNAME', 'clearout_bulk_resolve'
LANGUAGE C VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE;
COMMENT ON FUNCTION clearout_bulk_resolve(bigint, integer, text) IS
'decide about a part that is held because the answer to its upload was lost: the list with this id is its list; null: upload it again, which may be charged twice';

CREATE FUNCTION clearout_import(
	csv text,
	verified_at timestamptz DEFAULT NULL,
	OUT rows bigint,
	OUT stored bigint,
	OUT left_out bigint,
	OUT reason text)
RETURNS record
AS 'MODULE_PATHNAME', 'clearout_import'
LANGUAGE C VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE COST 100000;
COMMENT ON FUNCTION clearout_import(text, timestamptz) IS
'store the verdicts of a result file downloaded from the Clearout app, as of the time that each was verified, or verified_at where it does not tell';

CREATE FUNCTION clearout_import(
	csv bytea,
	verified_at timestamptz DEFAULT NULL,
	OUT rows bigint,
	OUT stored bigint,
	OUT left_out bigint,
	OUT reason text)
RETURNS record
AS 'MODULE_PATHNAME', 'clearout_import_bytes'
LANGUAGE C VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE COST 100000;
COMMENT ON FUNCTION clearout_import(bytea, timestamptz) IS
'the same for a file as bytes, in UTF-8';

CREATE FUNCTION clearout_import_file(
	path text,
	verified_at timestamptz DEFAULT NULL,
	OUT rows bigint,
	OUT stored bigint,
	OUT left_out bigint,
	OUT reason text)
RETURNS record
AS 'MODULE_PATHNAME', 'clearout_import_file'
LANGUAGE C VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE COST 100000;
COMMENT ON FUNCTION clearout_import_file(text, timestamptz) IS
'the same for a file on the server; for members of pg_read_server_files';

CREATE PROCEDURE clearout_wait(
	job bigint,
	every interval DEFAULT '10 seconds',
	timeout interval DEFAULT NULL)
AS 'MODULE_PATHNAME', 'clearout_wait'
LANGUAGE C;
COMMENT ON PROCEDURE clearout_wait(bigint, interval, interval) IS
'wait until a job is finished, with a notice on its progress now and then; to be called outside of a transaction block';

-- One state for the job: that of the part which is least far, or how it ended.
CREATE VIEW clearout_jobs AS
	SELECT j.job, j.kind,
		CASE WHEN j.finished_at IS NOT NULL THEN
				CASE WHEN p.failed > 0 THEN 'failed'
					WHEN j.cancelled_at IS NOT NULL THEN 'cancelled'
					ELSE 'done' END
			WHEN j.origin <> clearout_origin() THEN 'copied'
			WHEN p.held > 0 THEN 'held'
			WHEN j.cancelled_at IS NOT NULL THEN 'cancelling'
			ELSE p.state END AS state,
		p.parts, p.parts_finished,
		j.rows_total,
		j.rows_total - j.rows_spooled AS rows_skipped,
		p.rows_sent, p.rows_answered, p.rows_unanswered, p.rows_broken,
		CASE WHEN j.finished_at IS NOT NULL THEN 100
			ELSE (100::float8 * p.progress / greatest(j.rows_spooled, 1)::float8)::integer END AS percent,
		(p.progress / nullif(p.seconds, 0::float8))::integer AS rows_per_second,
		CASE WHEN j.finished_at IS NULL THEN
			pg_catalog.make_interval(secs => pg_catalog.round((p.seconds *
				(j.rows_spooled::float8 - p.progress) / nullif(p.progress, 0::float8))::numeric)::float8) END AS eta,
		p.credits, p.error,
		j.requested_by, j.created_at, j.finished_at
	FROM clearout_jobs_data j
		CROSS JOIN LATERAL (
			SELECT pg_catalog.count(*) AS parts,
				pg_catalog.count(*) FILTER (WHERE s.state IN ('done', 'failed', 'cancelled')) AS parts_finished,
				pg_catalog.count(*) FILTER (WHERE s.state = 'failed') AS failed,
				pg_catalog.count(*) FILTER (WHERE s.held) AS held,
				(pg_catalog.array_agg(s.state ORDER BY pg_catalog.array_position(
					ARRAY['spooled', 'uploading', 'running', 'downloading', 'stored'], s.state)))[1] AS state,
				coalesce(pg_catalog.sum(s.rows) FILTER (WHERE s.list_id IS NOT NULL), 0)::bigint AS rows_sent,
				coalesce(pg_catalog.sum(s.rows_answered), 0)::bigint AS rows_answered,
				coalesce(pg_catalog.sum(s.rows_unanswered), 0)::bigint AS rows_unanswered,
				coalesce(pg_catalog.sum(s.rows_broken), 0)::bigint AS rows_broken,
				coalesce(pg_catalog.sum(s.credits), 0)::bigint AS credits,
				-- the service's work counts for nine tenths of a row, ours for one
				coalesce(pg_catalog.sum(s.rows::float8 * CASE s.state
					WHEN 'spooled' THEN 0::float8 WHEN 'uploading' THEN 0::float8
					WHEN 'running' THEN 0.009::float8 * s.percent::float8
					WHEN 'downloading' THEN 0.9::float8 + 0.1::float8
						* least(s.bytes_stored::float8 / nullif(s.file_bytes, 0)::float8, 1::float8)
					ELSE 1::float8 END), 0::float8) AS progress,
				extract(epoch FROM coalesce(j.finished_at, pg_catalog.clock_timestamp())
					- pg_catalog.min(s.uploaded_at))::float8 AS seconds,
				(pg_catalog.array_agg(s.error ORDER BY s.part) FILTER (WHERE s.error IS NOT NULL))[1] AS error
			FROM clearout_parts s WHERE s.job = j.job) p
	WHERE j.removed_at IS NULL;
COMMENT ON VIEW clearout_jobs IS
'bulk jobs: how far they are, and what has become of their rows';
COMMENT ON COLUMN clearout_jobs.job IS
'number of the job';
COMMENT ON COLUMN clearout_jobs.kind IS
'what is done with each row: verify or find';
COMMENT ON COLUMN clearout_jobs.state IS
'spooled, uploading, running, downloading, stored (of the part that is least far), cancelling, held, copied; done, failed, cancelled';
COMMENT ON COLUMN clearout_jobs.parts IS
'lists that it was split into';
COMMENT ON COLUMN clearout_jobs.parts_finished IS
'of these, done, failed or cancelled';
COMMENT ON COLUMN clearout_jobs.rows_total IS
'rows given';
COMMENT ON COLUMN clearout_jobs.rows_skipped IS
'of these, not sent: null, malformed, given twice, answered already, or in another job; see clearout_jobs_data';
COMMENT ON COLUMN clearout_jobs.rows_sent IS
'rows that the service has';
COMMENT ON COLUMN clearout_jobs.rows_answered IS
'rows whose answers are stored';
COMMENT ON COLUMN clearout_jobs.rows_unanswered IS
'rows without an answer although their list is finished';
COMMENT ON COLUMN clearout_jobs.rows_broken IS
'rows of result files that were not understood';
COMMENT ON COLUMN clearout_jobs.percent IS
'how far it is';
COMMENT ON COLUMN clearout_jobs.rows_per_second IS
'since the first upload began';
COMMENT ON COLUMN clearout_jobs.eta IS
'time that it will take at that pace; null: not known';
COMMENT ON COLUMN clearout_jobs.credits IS
'what its answers cost by the price list';
COMMENT ON COLUMN clearout_jobs.error IS
'what hinders it, or why it failed';
COMMENT ON COLUMN clearout_jobs.requested_by IS
'the role that ordered it';
COMMENT ON COLUMN clearout_jobs.created_at IS
'when it was ordered';
COMMENT ON COLUMN clearout_jobs.finished_at IS
'when it was finished; null: it is under way';

REVOKE ALL ON clearout_jobs_data, clearout_parts, clearout_spool, clearout_jobs FROM PUBLIC;
REVOKE ALL ON FUNCTION clearout_bulk_verify(text, interval, text, boolean),
	clearout_bulk_verify(text[], interval, text, boolean),
	clearout_bulk_find(text, interval, boolean),
	clearout_bulk_cancel(bigint), clearout_bulk_remove(bigint, boolean),
	clearout_bulk_resolve(bigint, integer, text),
	clearout_import(text, timestamptz), clearout_import(bytea, timestamptz),
	clearout_import_file(text, timestamptz) FROM PUBLIC;
REVOKE ALL ON PROCEDURE clearout_wait(bigint, interval, interval) FROM PUBLIC;
GRANT SELECT ON clearout_jobs TO pg_monitor;

--
-- Finder and look-ups: functions
--

CREATE TYPE clearout_person AS (
	status			text,
	email			text,
	role			boolean,
	business		boolean,
	emails			text[],
	first_name		text,
	last_name		text,
	full_name		text,
	domain			text,
	company			text,
	confidence_score integer,
	credits_charged	integer,
	found_at		timestamptz,
	source			text,
	raw				jsonb,
	reason			text
);
COMMENT ON TYPE clearout_person IS
'whom the finder has found';
COMMENT ON COLUMN clearout_person.status IS
'found, not_found, or unknown where there is no answer';
COMMENT ON COLUMN clearout_person.email IS
'the address that was found, the first if there are several';
COMMENT ON COLUMN clearout_person.role IS
'does it belong to a role or group?';
COMMENT ON COLUMN clearout_person.business IS
'is it an address at the domain of a company?';
COMMENT ON COLUMN clearout_person.emails IS
'all addresses that were found';
COMMENT ON COLUMN clearout_person.first_name IS
'the first name, as the service read it';
COMMENT ON COLUMN clearout_person.last_name IS
'the last name, as the service read it';
COMMENT ON COLUMN clearout_person.full_name IS
'the whole name, as the service read it';
COMMENT ON COLUMN clearout_person.domain IS
'the domain, as the service read it or found it for the company';
COMMENT ON COLUMN clearout_person.company IS
'the company';
COMMENT ON COLUMN clearout_person.confidence_score IS
'how sure the service is, from 0 to 100';
COMMENT ON COLUMN clearout_person.credits_charged IS
'what it cost, where the service says so';
COMMENT ON COLUMN clearout_person.found_at IS
'when the service found it, or that there is nothing';
COMMENT ON COLUMN clearout_person.source IS
'where it comes from: service, stored or none';
COMMENT ON COLUMN clearout_person.raw IS
'the whole answer as the service gave it';
COMMENT ON COLUMN clearout_person.reason IS
'why nothing is known';

CREATE FUNCTION clearout_find(
	name text,
	domain text,
	timeout interval DEFAULT NULL,
	max_age interval DEFAULT NULL,
	on_error text DEFAULT NULL)
RETURNS clearout_person
AS 'MODULE_PATHNAME', 'clearout_find'
LANGUAGE C VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE COST 1000000;
COMMENT ON FUNCTION clearout_find(text, text, interval, interval, text) IS
'the e-mail address of somebody at a domain or company: the stored answer if it is fresh, else asks the Clearout service and waits; costs credits if somebody is found';

CREATE FUNCTION clearout_enqueue_find(name text, domain text, priority integer DEFAULT 0)
RETURNS boolean
AS 'MODULE_PATHNAME', 'clearout_enqueue_find'
LANGUAGE C VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE COST 1000;
COMMENT ON FUNCTION clearout_enqueue_find(text, text, integer) IS
'have the address of somebody found some time after the commit; false if that is needless: a fresh answer is stored, or it waits already';

CREATE FUNCTION clearout_is_catchall(
	email text,
	timeout interval DEFAULT NULL,
	max_age interval DEFAULT NULL,
	on_error text DEFAULT NULL)
RETURNS boolean
AS 'MODULE_PATHNAME', 'clearout_is_catchall'
LANGUAGE C VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE COST 1000000;
COMMENT ON FUNCTION clearout_is_catchall(text, interval, interval, text) IS
'does the domain of an address take mail for any address: from a fresh verification if that tells, else by a call of its own';

CREATE FUNCTION clearout_is_disposable(
	email text,
	timeout interval DEFAULT NULL,
	max_age interval DEFAULT NULL,
	on_error text DEFAULT NULL)
RETURNS boolean
AS 'MODULE_PATHNAME', 'clearout_is_disposable'
LANGUAGE C VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE COST 1000000;
COMMENT ON FUNCTION clearout_is_disposable(text, interval, interval, text) IS
'is it an address of a throw-away service: from a fresh verification if that tells, else by a call of its own';

CREATE FUNCTION clearout_is_business(
	email text,
	timeout interval DEFAULT NULL,
	max_age interval DEFAULT NULL,
	on_error text DEFAULT NULL)
RETURNS boolean
AS 'MODULE_PATHNAME', 'clearout_is_business'
LANGUAGE C VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE COST 1000000;
COMMENT ON FUNCTION clearout_is_business(text, interval, interval, text) IS
'is it an address at the domain of a company: the stored answer if it is fresh, else asks the Clearout service';

CREATE FUNCTION clearout_is_free(
	email text,
	timeout interval DEFAULT NULL,
	max_age interval DEFAULT NULL,
	on_error text DEFAULT NULL)
RETURNS boolean
AS 'MODULE_PATHNAME', 'clearout_is_free'
LANGUAGE C VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE COST 1000000;
COMMENT ON FUNCTION clearout_is_free(text, interval, interval, text) IS
'is it an address of a free provider: from a fresh verification if that tells, else by a call of its own';

CREATE FUNCTION clearout_is_role(
	email text,
	timeout interval DEFAULT NULL,
	max_age interval DEFAULT NULL,
	on_error text DEFAULT NULL)
RETURNS boolean
AS 'MODULE_PATHNAME', 'clearout_is_role'
LANGUAGE C VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE COST 1000000;
COMMENT ON FUNCTION clearout_is_role(text, interval, interval, text) IS
'does an address belong to a role or group: from a fresh verification if that tells, else by a call of its own';

CREATE FUNCTION clearout_is_gibberish(
	email text,
	timeout interval DEFAULT NULL,
	max_age interval DEFAULT NULL,
	on_error text DEFAULT NULL)
RETURNS boolean
AS 'MODULE_PATHNAME', 'clearout_is_gibberish'
LANGUAGE C VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE COST 1000000;
COMMENT ON FUNCTION clearout_is_gibberish(text, interval, interval, text) IS
'does the local part of an address look made up: from a fresh verification if that tells, else by a call of its own';

CREATE FUNCTION clearout_reverse_email(
	email text,
	timeout interval DEFAULT NULL,
	max_age interval DEFAULT NULL,
	on_error text DEFAULT NULL)
RETURNS jsonb
AS 'MODULE_PATHNAME', 'clearout_reverse_email'
LANGUAGE C VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE COST 1000000;
COMMENT ON FUNCTION clearout_reverse_email(text, interval, interval, text) IS
'who is behind an e-mail address; null if the service knows nobody';

CREATE FUNCTION clearout_reverse_linkedin(
	url text,
	timeout interval DEFAULT NULL,
	max_age interval DEFAULT NULL,
	on_error text DEFAULT NULL)
RETURNS jsonb
AS 'MODULE_PATHNAME', 'clearout_reverse_linkedin'
LANGUAGE C VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE COST 1000000;
COMMENT ON FUNCTION clearout_reverse_linkedin(text, interval, interval, text) IS
'who is behind the URL of a LinkedIn profile; null if the service knows nobody';

CREATE FUNCTION clearout_reverse_domain(
	domain text,
	timeout interval DEFAULT NULL,
	max_age interval DEFAULT NULL,
	on_error text DEFAULT NULL)
RETURNS jsonb
AS 'MODULE_PATHNAME', 'clearout_reverse_domain'
LANGUAGE C VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE COST 1000000;
COMMENT ON FUNCTION clearout_reverse_domain(text, interval, interval, text) IS
'which company is behind a domain; null if the service knows none';

CREATE FUNCTION clearout_autocomplete(
	query text,
	timeout interval DEFAULT NULL,
	max_age interval DEFAULT NULL,
	on_error text DEFAULT NULL)
RETURNS TABLE (name text, domain text, confidence_score double precision, logo_url text)
AS 'MODULE_PATHNAME', 'clearout_autocomplete'
LANGUAGE C VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE COST 1000000 ROWS 10;
COMMENT ON FUNCTION clearout_autocomplete(text, interval, interval, text) IS
'companies by the beginning of their name or by their domain, the best first; free, and needs no token';

CREATE FUNCTION clearout_mx(
	domain text,
	timeout interval DEFAULT NULL,
	max_age interval DEFAULT NULL,
	on_error text DEFAULT NULL)
RETURNS TABLE (exchange text, priority integer)
AS 'MODULE_PATHNAME', 'clearout_mx'
LANGUAGE C VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE COST 1000000 ROWS 3;
COMMENT ON FUNCTION clearout_mx(text, interval, interval, text) IS
'the mail servers of a domain, the preferred first';

CREATE FUNCTION clearout_whois(
	domain text,
	timeout interval DEFAULT NULL,
	max_age interval DEFAULT NULL,
	on_error text DEFAULT NULL)
RETURNS jsonb
AS 'MODULE_PATHNAME', 'clearout_whois'
LANGUAGE C VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE COST 1000000;
COMMENT ON FUNCTION clearout_whois(text, interval, interval, text) IS
'what is registered about a domain; null if nothing is';

CREATE FUNCTION clearout_validate_name(
	name text,
	timeout interval DEFAULT NULL,
	max_age interval DEFAULT NULL,
	on_error text DEFAULT NULL)
RETURNS jsonb
AS 'MODULE_PATHNAME', 'clearout_validate_name'
LANGUAGE C VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE COST 1000000;
COMMENT ON FUNCTION clearout_validate_name(text, interval, interval, text) IS
'how plausible the name of a person is';

CREATE TYPE clearout_credit AS (
	available		bigint,
	daily_limit_available bigint,
	daily_limit_resets_at timestamptz,
	total			bigint,
	low_balance_threshold bigint,
	asked_at		timestamptz,
	raw				jsonb
);
COMMENT ON TYPE clearout_credit IS
'the balance of the account';
COMMENT ON COLUMN clearout_credit.available IS
'credits that are left; null if the service does not tell';
COMMENT ON COLUMN clearout_credit.daily_limit_available IS
'verifications that are left today; null if there is no daily limit';
COMMENT ON COLUMN clearout_credit.daily_limit_resets_at IS
'when the daily limit begins anew';
COMMENT ON COLUMN clearout_credit.total IS
'credits of the account in all';
COMMENT ON COLUMN clearout_credit.low_balance_threshold IS
'below that the service warns of a low balance';
COMMENT ON COLUMN clearout_credit.asked_at IS
'when it was asked for';
COMMENT ON COLUMN clearout_credit.raw IS
'the whole answer as the service gave it';

CREATE FUNCTION clearout_credits(timeout interval DEFAULT NULL)
RETURNS clearout_credit
AS 'MODULE_PATHNAME', 'clearout_credits'
LANGUAGE C VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE COST 1000000;
COMMENT ON FUNCTION clearout_credits(interval) IS
'the balance of the account, asked for anew by each statement; free';

CREATE FUNCTION clearout_account_credits(timeout interval DEFAULT NULL)
RETURNS jsonb
AS 'MODULE_PATHNAME', 'clearout_account_credits'
LANGUAGE C VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE COST 1000000;
COMMENT ON FUNCTION clearout_account_credits(interval) IS
'the balance of the account by kinds of credits, asked for anew by each statement; free';

CREATE FUNCTION clearout_account_limits(timeout interval DEFAULT NULL)
RETURNS jsonb
AS 'MODULE_PATHNAME', 'clearout_account_limits'
LANGUAGE C VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE COST 1000000;
COMMENT ON FUNCTION clearout_account_limits(interval) IS
'the limits of the account, asked for anew by each statement; free';

CREATE FUNCTION clearout_account_plan(timeout interval DEFAULT NULL)
RETURNS jsonb
AS 'MODULE_PATHNAME', 'clearout_account_plan'
LANGUAGE C VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE COST 1000000;
COMMENT ON FUNCTION clearout_account_plan(interval) IS
'the plan and the add-ons of the account, asked for anew by each statement; free';

REVOKE ALL ON clearout_people, clearout_lookups, clearout_lookup_spill FROM PUBLIC;
REVOKE ALL ON FUNCTION clearout_find(text, text, interval, interval, text),
	clearout_enqueue_find(text, text, integer),
	clearout_is_catchall(text, interval, interval, text),
	clearout_is_disposable(text, interval, interval, text),
	clearout_is_business(text, interval, interval, text),
	clearout_is_free(text, interval, interval, text),
	clearout_is_role(text, interval, interval, text),
	clearout_is_gibberish(text, interval, interval, text),
	clearout_reverse_email(text, interval, interval, text),
	clearout_reverse_linkedin(text, interval, interval, text),
	clearout_reverse_domain(text, interval, interval, text),
	clearout_autocomplete(text, interval, interval, text),
	clearout_mx(text, interval, interval, text),
	clearout_whois(text, interval, interval, text),
	clearout_validate_name(text, interval, interval, text),
	clearout_credits(interval), clearout_account_credits(interval),
	clearout_account_limits(interval), clearout_account_plan(interval) FROM PUBLIC;

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
	OUT last_error_at timestamptz,
	OUT answers_per_minute double precision,
	OUT credits bigint,
	OUT credits_at timestamptz,
	OUT budget bigint,
	OUT budget_spent bigint,
	OUT queue_begin bigint[],
	OUT find_limit integer,
	OUT find_remaining integer,
	OUT find_resets_in interval)
RETURNS record
AS 'MODULE_PATHNAME', 'clearout_status_info'
LANGUAGE C VOLATILE STRICT PARALLEL RESTRICTED;
COMMENT ON FUNCTION clearout_status_info() IS
'what the view clearout_status shows';

-- By key, from where the worker has come to, whatever the planner knows of the
-- table: to read or sort it all can take minutes.  Whoever may see the view
-- need not be able to read the queue.
CREATE FUNCTION clearout_oldest_queued(queue_begin bigint[])
RETURNS timestamptz
LANGUAGE sql STABLE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET enable_seqscan = off
SET enable_bitmapscan = off
SET enable_sort = off
BEGIN ATOMIC
	SELECT min(first.enqueued_at)
	FROM pg_catalog.generate_series(1, 19) AS n
		CROSS JOIN LATERAL (
			SELECT q.enqueued_at FROM clearout_queue q
			WHERE q.priority = n - 10 AND q.id >= coalesce(queue_begin[n], 0)
				AND q.failed_at IS NULL AND q.next_attempt_at IS NULL
				AND q.origin = clearout_origin()
			ORDER BY q.priority, q.id LIMIT 1) AS first;
END;
COMMENT ON FUNCTION clearout_oldest_queued(bigint[]) IS
'when the oldest row of the queue was put there that waits for its first call';
REVOKE ALL ON FUNCTION clearout_oldest_queued(bigint[]) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION clearout_oldest_queued(bigint[]) TO pg_monitor;

-- The depth is an estimate, since a count would read the whole queue.
CREATE VIEW clearout_status AS
	SELECT i.worker_pid, i.state, i.reason, i.since, i.restarts,
		i.requests_waiting, i.calls_in_flight, i.answers_unstored, i.spilled,
		i.slots_used, i.slots_total, i.rate_limit, i.rate_remaining,
		i.rate_resets_in, i.calls, i.answers, i.joined, i.faults, i.last_error,
		i.last_error_at, i.answers_per_minute,
		q.queued, q.oldest_queued, q.queued::float8 / nullif(
			coalesce(nullif(i.answers_per_minute, 0::float8), i.rate_limit::float8), 0::float8)
			* interval '1 minute' AS queue_eta,
		(SELECT c.paused FROM clearout_control c) AS queue_paused,
		i.credits, i.credits_at, i.budget, i.budget_spent,
		CASE WHEN i.budget IS NOT NULL THEN greatest(i.budget - i.budget_spent, 0) END AS budget_left,
		p.services AS paused_services,
		p.since AS paused_since,
		p.until AS paused_until,
		i.find_limit, i.find_remaining, i.find_resets_in
	FROM clearout_status_info() i
		CROSS JOIN LATERAL (
			SELECT pg_catalog.pg_stat_get_live_tuples('clearout_queue'::pg_catalog.regclass) AS queued,
				clearout_oldest_queued(i.queue_begin) AS oldest_queued) q
		CROSS JOIN (SELECT pg_catalog.string_agg(p.service, ', ' ORDER BY p.service) AS services,
			min(p.since) AS since, max(p.until) AS until FROM clearout_pauses p) p;
COMMENT ON VIEW clearout_status IS
'the worker of this database: is it there, what does it do, what hinders it';
COMMENT ON COLUMN clearout_status.worker_pid IS
'process of the worker; null if there is none';
COMMENT ON COLUMN clearout_status.state IS
'running, not configured, update needed, paused, budget used up, storing failed, starting, backoff, no worker, not preloaded';
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
COMMENT ON COLUMN clearout_status.queued IS
'rows in clearout_queue, as an estimate';
COMMENT ON COLUMN clearout_status.answers_per_minute IS
'answers stored per minute, of late';
COMMENT ON COLUMN clearout_status.oldest_queued IS
'when the oldest row was enqueued that waits for its first call';
COMMENT ON COLUMN clearout_status.queue_eta IS
'how long the queue will take at that rate, or else at the rate limit';
COMMENT ON COLUMN clearout_status.credits IS
'credits that the account has left, as far as known: asked for clearout.credit_floor, and while calls are refused';
COMMENT ON COLUMN clearout_status.credits_at IS
'when the account last told; what was spent since is subtracted';
COMMENT ON COLUMN clearout_status.budget IS
'clearout.daily_budget; null: none';
COMMENT ON COLUMN clearout_status.budget_spent IS
'credits spent by this database today (UTC), calls in flight included';
COMMENT ON COLUMN clearout_status.budget_left IS
'what is left of the budget; null: there is none';
COMMENT ON COLUMN clearout_status.queue_paused IS
'does the queue stand still since clearout_pause()?';
COMMENT ON COLUMN clearout_status.paused_services IS
'services that refuse all calls, such as verify; see reason and clearout_pauses';
COMMENT ON COLUMN clearout_status.paused_since IS
'since when';
COMMENT ON COLUMN clearout_status.paused_until IS
'until when, as far as known; null: until the cause is gone';
COMMENT ON COLUMN clearout_status.find_limit IS
'calls of the finder that the plan allows per window; null until an answer has told';
COMMENT ON COLUMN clearout_status.find_remaining IS
'calls of the finder left in the current window, as far as known';
COMMENT ON COLUMN clearout_status.find_resets_in IS
'time until the current window of the finder ends, as far as known';

--
-- The report: what is known of a list of addresses, as a page to hand on.
--
-- Three steps, so that each has one concern: clearout_report() runs the
-- caller's query, clearout_report_data() counts, clearout_report_page() draws.
--

CREATE FUNCTION clearout_report_data(emails text[] DEFAULT NULL)
RETURNS jsonb
LANGUAGE plpgsql STABLE CALLED ON NULL INPUT PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	schema_name name;
	list text;
	data jsonb;
BEGIN
	SELECT n.nspname INTO STRICT schema_name
	FROM pg_extension e JOIN pg_namespace n ON n.oid = e.extnamespace
	WHERE e.extname = 'clearout';

	-- Without a list, all that is stored is the list.
	list := CASE WHEN emails IS NULL
		THEN format('SELECT r.email AS given, r.email FROM %I.clearout_results r', schema_name)
		ELSE format('SELECT u.given, %I.clearout_normalize(u.given) AS email FROM unnest($1) AS u (given)',
					schema_name) END;

	EXECUTE format($query$
		WITH list AS MATERIALIZED (%2$s),
		address AS MATERIALIZED (
			SELECT DISTINCT l.email COLLATE "C" AS email FROM list l WHERE l.email IS NOT NULL),
		known AS MATERIALIZED (
			SELECT a.email, r.status, r.safe_to_send, r.reason, r.bounce_type, r.disposable, r.free,
				r.role, r.gibberish, r.suggested_email, r.smtp_provider, r.verified_at,
				substring(a.email FROM '@(.*)$') AS domain
			FROM address a LEFT JOIN %1$I.clearout_results r ON r.email = a.email)
		SELECT jsonb_build_object(
			'rows', (SELECT count(*) FROM list),
			'nulls', (SELECT count(*) FROM list WHERE given IS NULL),
			'malformed', (SELECT count(*) FROM list WHERE given IS NOT NULL AND email IS NULL),
			'addresses', (SELECT count(*) FROM known),
			'unverified', (SELECT count(*) FROM known WHERE status IS NULL),
			'oldest', (SELECT min(verified_at) FROM known),
			'newest', (SELECT max(verified_at) FROM known),
			'status', (SELECT jsonb_agg(jsonb_build_array(s.word, s.number) ORDER BY s.number DESC, s.word)
				FROM (SELECT status AS word, count(*) AS number FROM known
					WHERE status IS NOT NULL GROUP BY 1) s),
			'safe_to_send', (SELECT jsonb_agg(jsonb_build_array(s.word, s.number) ORDER BY s.number DESC, s.word)
				FROM (SELECT coalesce(safe_to_send, 'not told') AS word, count(*) AS number FROM known
					WHERE status IS NOT NULL GROUP BY 1) s),
			'flags', (SELECT jsonb_build_array(
					jsonb_build_array('disposable', count(*) FILTER (WHERE disposable)),
					jsonb_build_array('role or group', count(*) FILTER (WHERE role)),
					jsonb_build_array('free provider', count(*) FILTER (WHERE free)),
					jsonb_build_array('gibberish', count(*) FILTER (WHERE gibberish)),
					jsonb_build_array('a correction is suggested', count(suggested_email)))
				FROM known),
			'reasons', (SELECT jsonb_agg(jsonb_build_array(s.word, s.number) ORDER BY s.number DESC, s.word)
				FROM (SELECT left(coalesce(reason, 'not told')
						|| coalesce(' (' || bounce_type || ' bounce)', ''), 46) AS word, count(*) AS number
					FROM known WHERE status IN ('invalid', 'unknown')
					GROUP BY 1 ORDER BY 2 DESC, 1 LIMIT 12) s),
			'domains', (SELECT jsonb_agg(jsonb_build_array(s.word, s.number, s.bad) ORDER BY s.number DESC, s.word)
				FROM (SELECT left(domain, 46) AS word, count(*) AS number,
						count(*) FILTER (WHERE status = 'invalid') AS bad
					FROM known GROUP BY 1 ORDER BY 2 DESC, 1 LIMIT 15) s),
			'providers', (SELECT jsonb_agg(jsonb_build_array(s.word, s.number) ORDER BY s.number DESC, s.word)
				FROM (SELECT left(coalesce(smtp_provider, 'not told'), 46) AS word, count(*) AS number FROM known
					WHERE status IS NOT NULL GROUP BY 1 ORDER BY 2 DESC, 1 LIMIT 10) s),
			'trend', (SELECT jsonb_agg(jsonb_build_object('month', t.month, 'status', t.statuses) ORDER BY t.month)
				FROM (SELECT m.month, jsonb_object_agg(m.status, m.number) AS statuses
					FROM (SELECT to_char(verified_at AT TIME ZONE 'UTC', 'YYYY-MM') AS month, status,
							count(*) AS number
						FROM known
						WHERE verified_at >= date_trunc('month', now() AT TIME ZONE 'UTC')
								AT TIME ZONE 'UTC' - interval '11 months'
						GROUP BY 1, 2) m
					GROUP BY 1) t),
			'made_at', now())
		$query$, schema_name, list)
	INTO data USING emails;
	RETURN data;
END;
$$;
COMMENT ON FUNCTION clearout_report_data(text[]) IS
'what clearout_report() shows, as figures: of these addresses, or of all that are stored';

CREATE FUNCTION clearout_report_page(data jsonb, title text DEFAULT 'E-mail list report')
RETURNS text
LANGUAGE plpgsql STABLE STRICT PARALLEL SAFE
SET search_path = pg_catalog, pg_temp
SET timezone = 'UTC'
AS $$
DECLARE
	colours constant jsonb := '{"valid": "#2e8b57", "invalid": "#c0392b", "catch_all": "#d99a1b",
		"unknown": "#7f8c8d", "yes": "#2e8b57", "no": "#c0392b", "risky": "#d99a1b"}';
	other constant text := '#5b6ee1';
	addresses constant bigint := (data->>'addresses')::bigint;
	verified constant bigint := addresses - (data->>'unverified')::bigint;
	page text;
	section record;
	entry record;
	chart text;
	most bigint;
	x numeric;
	y numeric;
	width numeric;
	height numeric;
	month_count int;
	sum bigint;
BEGIN
	-- Words of the service and domains of strangers stand in it.
	data := replace(replace(replace((data || jsonb_build_object('title', title))::text,
		'&', '&amp;'), '<', '&lt;'), '>', '&gt;')::jsonb;

	page := format($html$<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"/><meta name="viewport" content="width=device-width, initial-scale=1"/>
<title>%1$s</title>
<style>
:root { color-scheme: light dark }
body { font: 15px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem }
h1 { margin-bottom: 0 } h2 { margin: 2.2rem 0 .4rem; font-size: 1.15rem } .when { color: #888; margin-top: 0 }
dl { display: flex; flex-wrap: wrap; gap: .8rem 2.2rem; margin: 1.5rem 0 } dt { color: #888 } dd { margin: 0; font-size: 1.6rem }
svg { width: 100%%; height: auto } svg text { font: 12px system-ui, sans-serif; fill: currentColor }
.none { color: #888 }
</style></head><body>
<h1>%1$s</h1><p class="when">made %2$s</p>
$html$,
		data->>'title',
		to_char((data->>'made_at')::timestamptz, 'YYYY-MM-DD HH24:MI "UTC"'));

	page := page || '<dl>';
	FOR entry IN
		SELECT * FROM (VALUES
			('rows', data->>'rows'), ('different addresses', addresses::text),
			('malformed', data->>'malformed'), ('empty', data->>'nulls'),
			('not verified yet', data->>'unverified'),
			('deliverable', CASE WHEN verified > 0 THEN
				round(100.0 * coalesce((SELECT (e.value->>1)::bigint
					FROM jsonb_array_elements(nullif(data->'status', 'null')) e
					WHERE e.value->>0 = 'valid'), 0) / verified, 1) || ' %' ELSE '–' END)) AS v (name, figure)
	LOOP
		page := page || format('<div><dt>%s</dt><dd>%s</dd></div>', entry.name,
			CASE WHEN entry.figure ~ '^\d+$'
				THEN trim(to_char(entry.figure::bigint, '999,999,999,999,999')) ELSE entry.figure END);
	END LOOP;
	page := page || E'</dl>\n';

	-- Shares: one bar each, all of it adding up to what has been verified.
	FOR section IN
		SELECT * FROM (VALUES ('status', 'Status'), ('safe_to_send', 'Safe to send')) AS v (key, heading)
	LOOP
		page := page || format('<h2>%s</h2>', section.heading);
		IF verified = 0 THEN
			page := page || E'<p class="none">Nothing has been verified.</p>\n';
			CONTINUE;
		END IF;
		chart := '';
		x := 0;
		y := 0;
		FOR entry IN
			SELECT e.value->>0 AS word, (e.value->>1)::bigint AS number,
				coalesce(colours->>(e.value->>0), other) AS colour
			FROM jsonb_array_elements(data->section.key) WITH ORDINALITY e ORDER BY e.ordinality
		LOOP
			width := round(880.0 * entry.number / verified, 2);
			chart := chart || format('<rect x="%1$s" y="0" width="%2$s" height="26" fill="%3$s"/>'
				'<rect x="%4$s" y="%5$s" width="12" height="12" fill="%3$s"/>'
				'<text x="%6$s" y="%7$s">%8$s: %9$s (%10$s %%)</text>',
				x, width, entry.colour, (y::int % 3) * 290, 40 + (y::int / 3) * 22,
				(y::int % 3) * 290 + 18, 50 + (y::int / 3) * 22,
				entry.word,
				trim(to_char(entry.number, '999,999,999,999,999')), round(100.0 * entry.number / verified, 1));
			x := x + width;
			y := y + 1;
		END LOOP;
		page := page || format(E'<svg viewBox="0 0 880 %s" role="img" aria-label="%s">%s</svg>\n',
			40 + ceil(y / 3) * 22, section.heading, chart);
	END LOOP;

	-- Rankings: the widest bar is the most frequent word.
	FOR section IN
		SELECT * FROM (VALUES
			('reasons', 'Why addresses are invalid or unknown', false),
			('flags', 'What else was noticed', false),
			('domains', 'Domains (red: invalid)', true),
			('providers', 'Mail providers', false)) AS v (key, heading, with_bad)
	LOOP
		page := page || format('<h2>%s</h2>', section.heading);
		SELECT max((e.value->>1)::bigint) INTO most
		FROM jsonb_array_elements(nullif(data->section.key, 'null')) e;
		IF coalesce(most, 0) = 0 THEN
			page := page || E'<p class="none">None.</p>\n';
			CONTINUE;
		END IF;
		chart := '';
		y := 0;
		FOR entry IN
			SELECT e.value->>0 AS word, (e.value->>1)::bigint AS number, coalesce((e.value->>2)::bigint, 0) AS bad
			FROM jsonb_array_elements(data->section.key) WITH ORDINALITY e ORDER BY e.ordinality
		LOOP
			width := round(480.0 * entry.number / most, 2);
			chart := chart || format('<text x="300" y="%s" text-anchor="end">%s</text>'
				'<rect x="310" y="%s" width="%s" height="14" fill="%s"/>', y + 14,
				entry.word, y + 3, width, other);
			IF section.with_bad THEN
				chart := chart || format('<rect x="310" y="%s" width="%s" height="14" fill="%s"/>',
					y + 3, round(480.0 * entry.bad / most, 2), colours->>'invalid');
			END IF;
			chart := chart || format('<text x="%s" y="%s">%s</text>', 316 + width, y + 14,
				trim(to_char(entry.number, '999,999,999,999,999')));
			y := y + 22;
		END LOOP;
		page := page || format(E'<svg viewBox="0 0 880 %s" role="img" aria-label="%s">%s</svg>\n',
			y + 4, section.heading, chart);
	END LOOP;

	-- When it was verified: a column a month, by status.
	page := page || '<h2>When the addresses were verified, by month</h2>';
	month_count := coalesce(jsonb_array_length(nullif(data->'trend', 'null')), 0);
	IF month_count = 0 THEN
		page := page || E'<p class="none">Not in the last twelve months.</p>\n';
	ELSE
		SELECT max(s.total) INTO most
		FROM (SELECT (SELECT sum(v.value::bigint) FROM jsonb_each_text(t.value->'status') v) AS total
			FROM jsonb_array_elements(data->'trend') t) s;
		chart := '';
		x := 0;
		FOR section IN
			SELECT t.value->>'month' AS month, t.value->'status' AS statuses
			FROM jsonb_array_elements(data->'trend') WITH ORDINALITY t ORDER BY t.ordinality
		LOOP
			y := 180;
			sum := 0;
			FOR entry IN
				SELECT v.key, v.value::bigint AS number, coalesce(colours->>v.key, other) AS colour
				FROM jsonb_each_text(section.statuses) v ORDER BY v.key DESC
			LOOP
				height := round(150.0 * entry.number / most, 2);
				y := y - height;
				sum := sum + entry.number;
				chart := chart || format('<rect x="%s" y="%s" width="48" height="%s" fill="%s"/>',
					x + 12, y, height, entry.colour);
			END LOOP;
			chart := chart || format('<text x="%1$s" y="%2$s" text-anchor="middle">%3$s</text>'
				'<text x="%1$s" y="196" text-anchor="middle">%4$s</text>',
				x + 36, y - 6, trim(to_char(sum, '999,999,999,999,999')), section.month);
			x := x + 72;
		END LOOP;
		page := page || format(E'<svg viewBox="0 0 880 204" role="img" aria-label="Verified by month">%s</svg>\n', chart);
	END IF;

	RETURN page || E'</body></html>\n';
END;
$$;
COMMENT ON FUNCTION clearout_report_page(jsonb, text) IS
'draws what clearout_report_data() has counted: one HTML page without scripts and without links to anywhere';

-- The caller's query is to run as he wrote it, with his search_path.  So none
-- is set here, and all that is named is named with its schema.
CREATE FUNCTION clearout_report(query text DEFAULT NULL, title text DEFAULT 'E-mail list report')
RETURNS text
LANGUAGE plpgsql STABLE CALLED ON NULL INPUT PARALLEL UNSAFE
AS $$
DECLARE
	schema_name name;
	emails text[];
	page text;
BEGIN
	SELECT n.nspname INTO STRICT schema_name
	FROM pg_catalog.pg_extension e
		JOIN pg_catalog.pg_namespace n ON n.oid OPERATOR(pg_catalog.=) e.extnamespace
	WHERE e.extname OPERATOR(pg_catalog.=) 'clearout';

	IF query IS NOT NULL THEN
		EXECUTE pg_catalog.concat(
			'SELECT COALESCE(pg_catalog.array_agg(q.email::pg_catalog.text), ARRAY[]::pg_catalog.text[]) FROM (',
			query, E'\n) AS q (email)')
		INTO emails;
	END IF;
	EXECUTE pg_catalog.format('SELECT %1$I.clearout_report_page(%1$I.clearout_report_data($1), $2)', schema_name)
	INTO page USING emails, COALESCE(title, 'E-mail list report');
	RETURN page;
END;
$$;
COMMENT ON FUNCTION clearout_report(text, text) IS
'a page (HTML, complete in itself) on the addresses in the first column of a query, or on all that are stored: what is known of them; asks nobody and spends nothing';

--
-- Handlers: functions of users that are called with stored answers
--

-- What a listener is told of a row, in place of the address (see
-- clearout.notify_channel).  Not indexed, since few want to find a row by it.
ALTER TABLE clearout_results ADD COLUMN id bigint GENERATED BY DEFAULT AS IDENTITY;
COMMENT ON COLUMN clearout_results.id IS
'number of the row, as clearout.notify_channel tells it; not indexed';
SELECT pg_catalog.pg_extension_config_dump(
	pg_catalog.pg_get_serial_sequence('clearout_results', 'id'), '');

-- Names, not numbers, so that dump and restore carry them.  The role is what
-- the function runs as: nobody may write here but by the functions below.
-- A row with a table and no function is a watch; see clearout_watch().
CREATE TABLE clearout_handlers (
	id				bigint GENERATED BY DEFAULT AS IDENTITY PRIMARY KEY,
	schema_name		name NOT NULL,
	function_name	name,
	takes_array		boolean NOT NULL DEFAULT true,
	table_name		name,
	table_oid		oid,
	email_column	name,
	status_column	name,
	owner_name		name NOT NULL,
	role_name		name NOT NULL,
	registered_at	timestamptz NOT NULL DEFAULT now(),
	origin			bigint NOT NULL DEFAULT clearout_origin(),
	failures		integer NOT NULL DEFAULT 0,
	retry_at		timestamptz,
	last_error		text,
	last_error_at	timestamptz,
	calls_since		timestamptz,
	calls_row		bigint,
	delivered		bigint NOT NULL DEFAULT 0,
	last_call_at	timestamptz,
	ended_at		timestamptz,
	UNIQUE (schema_name, function_name, takes_array, role_name),
	CHECK ((function_name IS NULL) <> (table_name IS NULL))
);

COMMENT ON TABLE clearout_handlers IS
'functions that are called with stored answers, and tables that are kept true; see clearout_add_handler() and clearout_watch()';
COMMENT ON COLUMN clearout_handlers.id IS
'number of the handler';
COMMENT ON COLUMN clearout_handlers.schema_name IS
'schema of the function or table';
COMMENT ON COLUMN clearout_handlers.function_name IS
'name of the function; null: this is a watch';
COMMENT ON COLUMN clearout_handlers.takes_array IS
'its argument: an array of clearout_result, or a single one';
COMMENT ON COLUMN clearout_handlers.table_name IS
'name of the watched table';
COMMENT ON COLUMN clearout_handlers.table_oid IS
'the watched table in the database of origin; null: to be found by its name';
COMMENT ON COLUMN clearout_handlers.email_column IS
'its column with addresses';
COMMENT ON COLUMN clearout_handlers.status_column IS
'its column that is kept true';
COMMENT ON COLUMN clearout_handlers.owner_name IS
'owner of function or table when it was registered; with another one nothing is done';
COMMENT ON COLUMN clearout_handlers.role_name IS
'the role that registered it, and that it runs as';
COMMENT ON COLUMN clearout_handlers.registered_at IS
'when that was';
COMMENT ON COLUMN clearout_handlers.origin IS
'the database that it was registered in; in a copy it is not called until clearout_resume()';
COMMENT ON COLUMN clearout_handlers.failures IS
'failures in a row; 0: the last call was good';
COMMENT ON COLUMN clearout_handlers.retry_at IS
'it is not called before then, after failures';
COMMENT ON COLUMN clearout_handlers.last_error IS
'the last failure; what a function has raised may quote answers';
COMMENT ON COLUMN clearout_handlers.last_error_at IS
'when that was';
COMMENT ON COLUMN clearout_handlers.calls_since IS
'when the calls began that are under way; null: none is';
COMMENT ON COLUMN clearout_handlers.calls_row IS
'the row of clearout_outbox that it is called with; null: several';
COMMENT ON COLUMN clearout_handlers.delivered IS
'answers delivered so far';
COMMENT ON COLUMN clearout_handlers.last_call_at IS
'when the last of them was';
COMMENT ON COLUMN clearout_handlers.ended_at IS
'when a watch came to its end, for the reason in last_error';

-- Written with the answer, in one transaction; removed with what the handler
-- does, in one transaction.
CREATE TABLE clearout_outbox (
	handler			bigint NOT NULL,
	id				bigint GENERATED BY DEFAULT AS IDENTITY,
	email			text COLLATE "C" NOT NULL,
	asks			boolean NOT NULL DEFAULT false,
	origin			bigint NOT NULL DEFAULT clearout_origin(),
	created_at		timestamptz NOT NULL DEFAULT now(),
	attempts		integer NOT NULL DEFAULT 0,
	next_attempt_at	timestamptz,
	failed_at		timestamptz,
	last_error		text,
	PRIMARY KEY (handler, id)
) WITH (
	-- like clearout_queue, it lives on being emptied
	autovacuum_vacuum_scale_factor = 0.0, autovacuum_vacuum_threshold = 20000,
	autovacuum_analyze_scale_factor = 0.2, autovacuum_vacuum_insert_scale_factor = 1.0
);
CREATE INDEX ON clearout_outbox (handler, next_attempt_at)
	WHERE next_attempt_at IS NOT NULL AND failed_at IS NULL;

COMMENT ON TABLE clearout_outbox IS
'stored answers that handlers are to be called with';
COMMENT ON COLUMN clearout_outbox.handler IS
'clearout_handlers.id';
COMMENT ON COLUMN clearout_outbox.id IS
'number of the row';
COMMENT ON COLUMN clearout_outbox.email IS
'the address; its answer is in clearout_results';
COMMENT ON COLUMN clearout_outbox.asks IS
'a watched table has got this address: it is to be verified if no fresh answer is stored';
COMMENT ON COLUMN clearout_outbox.origin IS
'the database that it was written in; a copy leaves it alone until clearout_resume()';
COMMENT ON COLUMN clearout_outbox.created_at IS
'when the answer was stored';
COMMENT ON COLUMN clearout_outbox.attempts IS
'calls with it that failed';
COMMENT ON COLUMN clearout_outbox.next_attempt_at IS
'it waits until then; null: it has not failed';
COMMENT ON COLUMN clearout_outbox.failed_at IS
'when it failed for good; null: it did not';
COMMENT ON COLUMN clearout_outbox.last_error IS
'why the last call failed';

SELECT pg_catalog.pg_extension_config_dump('clearout_handlers', '');
SELECT pg_catalog.pg_extension_config_dump(
	pg_catalog.pg_get_serial_sequence('clearout_handlers', 'id'), '');
SELECT pg_catalog.pg_extension_config_dump('clearout_outbox', '');
SELECT pg_catalog.pg_extension_config_dump(
	pg_catalog.pg_get_serial_sequence('clearout_outbox', 'id'), '');

CREATE FUNCTION clearout_add_handler(function regprocedure)
RETURNS bigint
AS 'MODULE_PATHNAME', 'clearout_add_handler'
LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE;
COMMENT ON FUNCTION clearout_add_handler(regprocedure) IS
'have a function called, as the current role, with each answer that is stored from now on; returns the number of the handler';

CREATE FUNCTION clearout_drop_handler(function regprocedure)
RETURNS boolean
AS 'MODULE_PATHNAME', 'clearout_drop_handler'
LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE;
COMMENT ON FUNCTION clearout_drop_handler(regprocedure) IS
'have it called no more, and forget what it was to be called with; false if it is no handler';

CREATE FUNCTION clearout_drop_handler_by_id(handler bigint)
RETURNS boolean
AS 'MODULE_PATHNAME', 'clearout_drop_handler_by_id'
LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE;
COMMENT ON FUNCTION clearout_drop_handler_by_id(bigint) IS
'the same by the number of the handler, whose function may be gone';

CREATE FUNCTION clearout_retry_handlers()
RETURNS bigint
AS 'MODULE_PATHNAME', 'clearout_retry_handlers'
LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE;
COMMENT ON FUNCTION clearout_retry_handlers() IS
'call the current role''s handlers that failed again at once, with all that they failed on; returns the number of these rows';

CREATE FUNCTION clearout_reactor_info(
	OUT pid integer,
	OUT state text,
	OUT reason text,
	OUT next_start timestamptz)
RETURNS record
AS 'MODULE_PATHNAME', 'clearout_reactor_info'
LANGUAGE C VOLATILE STRICT PARALLEL RESTRICTED;
COMMENT ON FUNCTION clearout_reactor_info() IS
'the process that calls handlers: there while there is something to deliver';

-- Each role sees its own; who may read the tables sees all.
CREATE VIEW clearout_handler_status WITH (security_barrier) AS
	SELECT h.id AS handler,
		pg_catalog.format('%I.%I(clearout_result%s)', h.schema_name, h.function_name,
			CASE WHEN h.takes_array THEN '[]' END) AS function,
		h.role_name,
		CASE WHEN h.origin <> clearout_origin() THEN 'copied'
			WHEN h.calls_since IS NOT NULL THEN 'running'
			WHEN h.failures > 0 THEN 'failing' ELSE 'ready' END AS state,
		o.waiting, o.failed, h.delivered, h.last_call_at, h.retry_at,
		h.last_error, h.last_error_at, i.reason AS hindrance
	FROM clearout_handlers h
		CROSS JOIN LATERAL (
			SELECT pg_catalog.count(*) FILTER (WHERE x.failed_at IS NULL) AS waiting,
				pg_catalog.count(*) FILTER (WHERE x.failed_at IS NOT NULL) AS failed
			FROM clearout_outbox x WHERE x.handler = h.id) o
		CROSS JOIN clearout_reactor_info() i
	WHERE h.function_name IS NOT NULL
		AND (pg_catalog.has_table_privilege(h.tableoid, 'SELECT')
			OR EXISTS (SELECT FROM pg_catalog.pg_roles r
				WHERE r.rolname = h.role_name AND pg_catalog.pg_has_role(r.oid, 'USAGE')));
COMMENT ON VIEW clearout_handler_status IS
'the current role''s handlers: what is delivered, what waits, what fails';
COMMENT ON COLUMN clearout_handler_status.handler IS
'number of the handler';
COMMENT ON COLUMN clearout_handler_status.function IS
'the function';
COMMENT ON COLUMN clearout_handler_status.role_name IS
'the role that it runs as';
COMMENT ON COLUMN clearout_handler_status.state IS
'ready, running, failing, copied (waits for clearout_resume())';
COMMENT ON COLUMN clearout_handler_status.waiting IS
'answers still to be delivered';
COMMENT ON COLUMN clearout_handler_status.failed IS
'answers that it failed on for good; see clearout_handler_failures';
COMMENT ON COLUMN clearout_handler_status.delivered IS
'answers delivered so far';
COMMENT ON COLUMN clearout_handler_status.last_call_at IS
'when the last of them was';
COMMENT ON COLUMN clearout_handler_status.retry_at IS
'it is not called before then, after failures';
COMMENT ON COLUMN clearout_handler_status.last_error IS
'the last failure';
COMMENT ON COLUMN clearout_handler_status.last_error_at IS
'when that was';
COMMENT ON COLUMN clearout_handler_status.hindrance IS
'why the process that calls handlers cannot run; null if nothing hinders it';

CREATE VIEW clearout_handler_failures WITH (security_barrier) AS
	SELECT o.handler, o.id, o.email, o.created_at, o.attempts, o.next_attempt_at,
		o.failed_at, o.last_error
	FROM clearout_outbox o JOIN clearout_handlers h ON h.id = o.handler
	WHERE o.last_error IS NOT NULL
		AND (pg_catalog.has_table_privilege(o.tableoid, 'SELECT')
			OR EXISTS (SELECT FROM pg_catalog.pg_roles r
				WHERE r.rolname = h.role_name AND pg_catalog.pg_has_role(r.oid, 'USAGE')));
COMMENT ON VIEW clearout_handler_failures IS
'answers that the current role''s handlers have failed on, for now or for good';
COMMENT ON COLUMN clearout_handler_failures.handler IS
'number of the handler';
COMMENT ON COLUMN clearout_handler_failures.id IS
'number of the row of clearout_outbox';
COMMENT ON COLUMN clearout_handler_failures.email IS
'the address';
COMMENT ON COLUMN clearout_handler_failures.created_at IS
'when the answer was stored';
COMMENT ON COLUMN clearout_handler_failures.attempts IS
'calls with it that failed';
COMMENT ON COLUMN clearout_handler_failures.next_attempt_at IS
'when it is tried again, if it did not fail for good';
COMMENT ON COLUMN clearout_handler_failures.failed_at IS
'when it failed for good; null: it did not';
COMMENT ON COLUMN clearout_handler_failures.last_error IS
'why the last call failed';

REVOKE ALL ON clearout_handlers, clearout_outbox, clearout_handler_status,
	clearout_handler_failures FROM PUBLIC;
REVOKE ALL ON FUNCTION clearout_add_handler(regprocedure),
	clearout_drop_handler(regprocedure), clearout_drop_handler_by_id(bigint),
	clearout_retry_handlers(), clearout_reactor_info() FROM PUBLIC;

--
-- Watches: tables of users whose status column is kept true
--

CREATE FUNCTION clearout_watch(relation regclass, email_column name, status_column name)
RETURNS bigint
AS 'MODULE_PATHNAME', 'clearout_watch'
LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE;
COMMENT ON FUNCTION clearout_watch(regclass, name, name) IS
'have the addresses of a table verified, those to come too, and keep their status in another column of it; returns the number of the watch';

CREATE FUNCTION clearout_unwatch(relation regclass, status_column name DEFAULT NULL)
RETURNS bigint
AS 'MODULE_PATHNAME', 'clearout_unwatch'
LANGUAGE C VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE;
COMMENT ON FUNCTION clearout_unwatch(regclass, name) IS
'end the watches of a table, or that of one column; returns how many';

CREATE FUNCTION clearout_watch_note()
RETURNS trigger
AS 'MODULE_PATHNAME', 'clearout_watch_note'
LANGUAGE C;
COMMENT ON FUNCTION clearout_watch_note() IS
'trigger function of watched tables; see clearout_watch()';

CREATE VIEW clearout_watches WITH (security_barrier) AS
	SELECT h.id AS watch,
		pg_catalog.format('%I.%I', coalesce(t.nspname, h.schema_name),
			coalesce(t.relname, h.table_name)) AS relation,
		coalesce(t.email_column, h.email_column) AS email_column,
		coalesce(t.status_column, h.status_column) AS status_column,
		h.role_name,
		CASE WHEN h.ended_at IS NOT NULL OR t.tgrelid IS NULL THEN 'ended'
			WHEN h.origin <> clearout_origin() THEN 'copied'
			WHEN h.failures > 0 THEN 'failing' ELSE 'working' END AS state,
		CASE WHEN h.ended_at IS NOT NULL OR t.tgrelid IS NOT NULL THEN
			CASE WHEN h.ended_at IS NOT NULL OR h.failures > 0 THEN h.last_error ELSE i.reason END
			ELSE 'Its table is gone, or a column or trigger of it.' END AS reason,
		o.waiting, o.failed, h.registered_at, h.last_call_at, h.retry_at, h.ended_at,
		h.last_error, h.last_error_at
	FROM clearout_handlers h
		LEFT JOIN LATERAL (
			SELECT g.tgrelid, n.nspname, c.relname,
				e.attname AS email_column, s.attname AS status_column
			FROM pg_catalog.pg_trigger g
				JOIN pg_catalog.pg_class c ON c.oid = g.tgrelid
				JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
				JOIN pg_catalog.pg_attribute e ON e.attrelid = g.tgrelid AND e.attnum = g.tgattr[0]
				JOIN pg_catalog.pg_attribute s ON s.attrelid = g.tgrelid AND s.attnum = g.tgattr[1]
			WHERE g.tgname = 'clearout_watch_' || h.id::text AND g.tgparentid = 0::oid
				AND (g.tgrelid = h.table_oid OR h.table_oid IS NULL OR h.origin <> clearout_origin())
				AND g.tgfoid = (SELECT p.oid FROM pg_catalog.pg_proc p
					WHERE p.proname = 'clearout_watch_note' AND p.pronargs = 0
						AND p.pronamespace = (SELECT c.relnamespace FROM pg_catalog.pg_class c WHERE c.oid = h.tableoid))
			LIMIT 1) t ON true
		CROSS JOIN LATERAL (
			SELECT pg_catalog.count(*) FILTER (WHERE x.failed_at IS NULL) AS waiting,
				pg_catalog.count(*) FILTER (WHERE x.failed_at IS NOT NULL) AS failed
			FROM clearout_outbox x WHERE x.handler = h.id) o
		CROSS JOIN clearout_reactor_info() i
	WHERE h.table_name IS NOT NULL
		AND (pg_catalog.has_table_privilege(h.tableoid, 'SELECT')
			OR EXISTS (SELECT FROM pg_catalog.pg_roles r
				WHERE r.rolname = h.role_name AND pg_catalog.pg_has_role(r.oid, 'USAGE')));
COMMENT ON VIEW clearout_watches IS
'the current role''s watches: what they keep true, what waits, what hinders them';
COMMENT ON COLUMN clearout_watches.watch IS
'number of the watch';
COMMENT ON COLUMN clearout_watches.relation IS
'the watched table';
COMMENT ON COLUMN clearout_watches.email_column IS
'its column with addresses';
COMMENT ON COLUMN clearout_watches.status_column IS
'its column that is kept true';
COMMENT ON COLUMN clearout_watches.role_name IS
'the role that set it up, that it runs as, and on whose account addresses are verified';
COMMENT ON COLUMN clearout_watches.state IS
'working, failing (tried again), copied (waits for clearout_resume()), ended';
COMMENT ON COLUMN clearout_watches.reason IS
'why it does not work; null if it does';
COMMENT ON COLUMN clearout_watches.waiting IS
'addresses to be looked after';
COMMENT ON COLUMN clearout_watches.failed IS
'addresses that it failed on for good; see clearout_handler_failures';
COMMENT ON COLUMN clearout_watches.registered_at IS
'when it was set up';
COMMENT ON COLUMN clearout_watches.last_call_at IS
'when it last wrote to the table';
COMMENT ON COLUMN clearout_watches.retry_at IS
'when it is tried again, after failures';
COMMENT ON COLUMN clearout_watches.ended_at IS
'when its end was noticed';
COMMENT ON COLUMN clearout_watches.last_error IS
'the last failure';
COMMENT ON COLUMN clearout_watches.last_error_at IS
'when that was';

REVOKE ALL ON clearout_watches FROM PUBLIC;
REVOKE ALL ON FUNCTION clearout_watch(regclass, name, name),
	clearout_unwatch(regclass, name), clearout_watch_note() FROM PUBLIC;

--
-- Privileges.  Nothing that spends credits or reads addresses is for PUBLIC.
--

REVOKE ALL ON clearout_results, clearout_spill, clearout_queue,
	clearout_control, clearout_pauses, clearout_budgets, clearout_usage_parts,
	clearout_usage, clearout_status FROM PUBLIC;
REVOKE ALL ON FUNCTION clearout_verify(text, interval, interval, text),
	clearout_verify(text[], interval, interval, text),
	clearout_enqueue(text, integer),
	clearout_enqueue(text[], integer),
	clearout_refresh(interval, bigint, integer),
	clearout_retry(), clearout_pause(), clearout_resume(),
	clearout_queue_note(), clearout_status_info(),
	clearout_report(text, text), clearout_report_data(text[]),
	clearout_report_page(jsonb, text) FROM PUBLIC;
-- Figures without addresses.
GRANT SELECT ON clearout_status, clearout_usage, clearout_summary TO pg_monitor;
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

	IF what NOT IN ('verify', 'enqueue', 'find', 'lookup', 'read', 'react', 'admin') THEN
		RAISE EXCEPTION 'unknown privilege "%"', what
			USING ERRCODE = 'invalid_parameter_value',
				HINT = 'Use "verify", "enqueue", "find", "lookup", "read", "react" or "admin".';
	END IF;

	RETURN QUERY
	SELECT 'EXECUTE', format('FUNCTION %I.clearout_verify(%s, interval, interval, text)', schema_name, t)
	FROM unnest(ARRAY['text', 'text[]']) AS t
	WHERE what IN ('verify', 'admin')
	UNION ALL
	SELECT 'EXECUTE', format('FUNCTION %I.clearout_%s(text, interval, interval, text)', schema_name, t)
	FROM unnest(ARRAY['is_catchall', 'is_disposable', 'is_business', 'is_free', 'is_role',
					  'is_gibberish']) AS t
	WHERE what IN ('verify', 'admin')
	UNION ALL
	SELECT 'EXECUTE', format('FUNCTION %I.%s', schema_name, t)
	FROM unnest(ARRAY['clearout_find(text, text, interval, interval, text)',
					  'clearout_enqueue_find(text, text, integer)',
					  'clearout_bulk_find(text, interval, boolean)']) AS t
	WHERE what IN ('find', 'admin')
	UNION ALL
	SELECT 'EXECUTE', format('FUNCTION %I.clearout_%s(text, interval, interval, text)', schema_name, t)
	FROM unnest(ARRAY['reverse_email', 'reverse_linkedin', 'reverse_domain', 'autocomplete',
					  'mx', 'whois', 'validate_name']) AS t
	WHERE what IN ('lookup', 'admin')
	UNION ALL
	SELECT 'EXECUTE', format('FUNCTION %I.clearout_%s(interval)', schema_name, t)
	FROM unnest(ARRAY['credits', 'account_credits', 'account_limits', 'account_plan']) AS t
	WHERE what = 'admin'
	UNION ALL
	SELECT 'EXECUTE', format('FUNCTION %I.clearout_enqueue(%s, integer)', schema_name, t)
	FROM unnest(ARRAY['text', 'text[]']) AS t
	WHERE what IN ('enqueue', 'admin')
	UNION ALL
	SELECT 'EXECUTE', format('FUNCTION %I.clearout_verify_trigger()', schema_name)
	WHERE what IN ('verify', 'enqueue', 'admin')
	UNION ALL
	SELECT 'EXECUTE', format('FUNCTION %I.%s', schema_name, t)
	FROM unnest(ARRAY['clearout_cached(text)', 'clearout_unverified(regclass, name, interval)']) AS t
	WHERE what IN ('read', 'admin')
	UNION ALL
	SELECT 'EXECUTE', format('FUNCTION %I.clearout_bulk_verify(%s, interval, text, boolean)', schema_name, t)
	FROM unnest(ARRAY['text', 'text[]']) AS t
	WHERE what IN ('enqueue', 'admin')
	UNION ALL
	SELECT 'EXECUTE', format('%s %I.%s', k, schema_name, t)
	FROM (VALUES ('FUNCTION', 'clearout_bulk_cancel(bigint)'),
			('FUNCTION', 'clearout_bulk_remove(bigint, boolean)'),
			('FUNCTION', 'clearout_bulk_resolve(bigint, integer, text)'),
			('PROCEDURE', 'clearout_wait(bigint, interval, interval)')) AS b (k, t)
	WHERE what IN ('enqueue', 'find', 'admin')
	UNION ALL
	SELECT 'EXECUTE', format('FUNCTION %I.%s', schema_name, t)
	FROM unnest(ARRAY['clearout_import(text, timestamptz)', 'clearout_import(bytea, timestamptz)',
					  'clearout_import_file(text, timestamptz)']) AS t
	WHERE what = 'admin'
	UNION ALL
	SELECT 'SELECT', format('TABLE %I.clearout_jobs', schema_name)
	WHERE what IN ('enqueue', 'find', 'read', 'admin')
	UNION ALL
	SELECT 'SELECT', format('TABLE %I.%I', schema_name, t)
	FROM unnest(ARRAY['clearout_jobs_data', 'clearout_parts', 'clearout_spool']) AS t
	WHERE what IN ('read', 'admin')
	UNION ALL
	SELECT 'EXECUTE', format('FUNCTION %I.%s', schema_name, t)
	FROM unnest(ARRAY['clearout_refresh(interval, bigint, integer)', 'clearout_retry()',
					  'clearout_pause()', 'clearout_resume()', 'clearout_forget(text)',
					  'clearout_expire(interval, bigint)',
					  'clearout_set_budget(regrole, bigint)']) AS t
	WHERE what = 'admin'
	UNION ALL
	SELECT 'SELECT', format('TABLE %I.%I', schema_name, t)
	FROM unnest(ARRAY['clearout_results', 'clearout_spill', 'clearout_queue',
					  'clearout_people', 'clearout_lookups', 'clearout_lookup_spill',
					  'clearout_control', 'clearout_pauses', 'clearout_budgets',
					  'clearout_usage_parts', 'clearout_usage', 'clearout_status', 'clearout_summary']) AS t
	WHERE what IN ('read', 'admin')
	UNION ALL
	SELECT 'EXECUTE', format('FUNCTION %I.%s', schema_name, t)
	FROM unnest(ARRAY['clearout_status_info()', 'clearout_oldest_queued(bigint[])', 'clearout_report(text, text)',
					  'clearout_report_data(text[])', 'clearout_report_page(jsonb, text)']) AS t
	WHERE what IN ('read', 'admin')
	UNION ALL
	SELECT 'EXECUTE', format('FUNCTION %I.%s', schema_name, t)
	FROM unnest(ARRAY['clearout_add_handler(regprocedure)', 'clearout_drop_handler(regprocedure)',
					  'clearout_drop_handler_by_id(bigint)', 'clearout_retry_handlers()',
					  'clearout_reactor_info()', 'clearout_watch(regclass, name, name)',
					  'clearout_unwatch(regclass, name)', 'clearout_watch_note()']) AS t
	WHERE what IN ('react', 'admin')
	UNION ALL
	SELECT 'SELECT', format('TABLE %I.%I', schema_name, t)
	FROM unnest(ARRAY['clearout_results', 'clearout_handler_status', 'clearout_handler_failures',
					  'clearout_watches']) AS t
	WHERE what = 'react'
	UNION ALL
	SELECT p, format('TABLE %I.%I', schema_name, t)
	FROM (VALUES ('SELECT, DELETE', 'clearout_handlers'), ('SELECT, DELETE', 'clearout_outbox'),
				 ('SELECT', 'clearout_handler_status'), ('SELECT', 'clearout_handler_failures'),
				 ('SELECT', 'clearout_watches')) AS v (p, t)
	WHERE what = 'admin'
	UNION ALL
	SELECT 'INSERT, UPDATE, DELETE', format('TABLE %I.%I', schema_name, t)
	FROM unnest(ARRAY['clearout_results', 'clearout_spill', 'clearout_queue', 'clearout_budgets',
					  'clearout_people', 'clearout_lookups', 'clearout_lookup_spill']) AS t
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
'let a role verify addresses (verify), have them verified later (enqueue), have people found (find), look things up (lookup), read stored answers (read), have functions called with them (react), or all of it and tend them (admin)';
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

	-- All that another word stands for is there: what both words have stays, or
	-- that one would be taken back in part.  "admin" has all that others have.
	FOR entry IN EXECUTE format($sql$
		SELECT * FROM %1$I.clearout_privileges($1)
		EXCEPT
		SELECT p.* FROM unnest(ARRAY['verify', 'enqueue', 'find', 'lookup', 'read', 'react']) AS other,
			%1$I.clearout_privileges(other) AS p
		WHERE $1 NOT IN (other, 'admin') AND NOT EXISTS (
			SELECT FROM %1$I.clearout_privileges(other) AS q, regexp_replace(q.object, '^[A-Z]+ ', '') AS name
			WHERE NOT EXISTS (
				SELECT FROM aclexplode(CASE WHEN q.object LIKE 'TABLE %%'
					THEN (SELECT relacl FROM pg_class WHERE oid = to_regclass(name))
					ELSE (SELECT proacl FROM pg_proc WHERE oid = to_regprocedure(name)) END) AS a
				WHERE a.grantee = $2 AND a.privilege_type = q.privilege))
		$sql$, schema_name) USING what, role
	LOOP
		EXECUTE format('REVOKE %s ON %s FROM %s', entry.privilege, entry.object, role);
	END LOOP;
END;
$$;
COMMENT ON FUNCTION clearout_revoke(regrole, text) IS
'take back what clearout_grant() gave; what another of its words gave as well stays, but for "admin"; and so does the right to use the schema';
REVOKE ALL ON FUNCTION clearout_revoke(regrole, text) FROM PUBLIC;

--
-- What is missing is said at once, and not only by the first call.
--

DO $$
BEGIN
	IF (SELECT state FROM clearout_status_info()) = 'not preloaded' THEN
		RAISE WARNING 'the library of clearout is not preloaded'
			USING DETAIL = 'Stored answers can be read; nothing is verified.',
				HINT = 'Add "clearout" to shared_preload_libraries, and restart the server.';
	ELSIF pg_catalog.current_setting('clearout.api_token_file') = '' THEN
		RAISE NOTICE 'no API token is set'
			USING DETAIL = 'Nothing is verified before there is one.',
				HINT = 'Set "clearout.api_token_file" in postgresql.conf or by ALTER DATABASE, and reload the configuration.';
	END IF;
END;
$$;
