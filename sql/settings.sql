-- Settings: units, ranges, who may set them.
SELECT name, boot_val, unit, vartype, min_val, max_val, context
FROM pg_settings WHERE name LIKE 'clearout.%' ORDER BY name COLLATE "C";

SELECT name, enumvals FROM pg_settings
WHERE name LIKE 'clearout.%' AND enumvals IS NOT NULL ORDER BY name COLLATE "C";

-- Each says what it is for.
SELECT name FROM pg_settings WHERE name LIKE 'clearout.%' AND coalesce(short_desc, '') = '';

-- No setting holds the token, so none has a name for it.
\set VERBOSITY sqlstate
SET clearout.api_token = 'secret';	-- 42602
SET clearout.foo = 1;	-- 42602

-- What is no base URL is refused.
SET clearout.base_url = '';	-- 22023
SET clearout.base_url = 'api.clearout.io/v2';	-- 22023
SET clearout.base_url = 'ftp://api.clearout.io/v2';	-- 22023
SET clearout.base_url = 'file:///etc/passwd';	-- 22023
SET clearout.base_url = 'https://';	-- 22023
SET clearout.base_url = 'https://user:password@api.clearout.io/v2';	-- 22023
SET clearout.base_url = E'https://api.clearout.io/v2\r\nX: y';	-- 22023
SET clearout.base_url = 'https://api.clearout.io/v2';
SET clearout.base_url = 'http://127.0.0.1:8080/v2/';
RESET clearout.base_url;

-- Out of range, no such word, not now.
SET clearout.max_age = '-1';	-- 22023
SET clearout.max_age_catch_all = '-2';	-- 22023
SET clearout.on_error = 'ignore';	-- 22023
SET clearout.request_slots = 100;	-- 55P02
SET clearout.max_parallel = 10;	-- 55P02
SET clearout.verify_rpm = 100;	-- 55P02
SET clearout.handler_timeout = '1s';	-- 55P02
SET clearout.handler_attempts = 3;	-- 55P02
\set VERBOSITY default

SET clearout.wait_timeout = '1min';
SHOW clearout.wait_timeout;
SET clearout.max_age = '7d';
SHOW clearout.max_age;
RESET ALL;

-- A plain role sets what concerns its own questions, and no more.
CREATE ROLE regress_clearout_settings;
SET ROLE regress_clearout_settings;
SET clearout.wait_timeout = '5s';
SET clearout.max_age = '1d';
SET clearout.max_age_unknown = '1min';
SET clearout.max_age_catch_all = '1h';
SET clearout.on_error = 'unknown';
SET clearout.precheck = off;
\set VERBOSITY sqlstate
SET clearout.api_token_file = '/etc/shadow';	-- 42501
SET clearout.base_url = 'http://127.0.0.1/';	-- 42501
SET clearout.allow_http = on;	-- 42501
SET clearout.proxy = '';	-- 42501
SET clearout.ca_file = '';	-- 42501
SET clearout.auth_scheme = 'token';	-- 42501
SET clearout.statement_limit = 0;	-- 42501
SET clearout.notify_channel = 'x';	-- 42501
SHOW clearout.proxy;	-- 42501, it may hold a password
\set VERBOSITY default
RESET ROLE;
RESET ALL;
DROP ROLE regress_clearout_settings;

-- Arguments that are no use.
\set VERBOSITY sqlstate
SELECT clearout_verify('jane@example.com', timeout => '-1s');	-- 22023
SELECT clearout_verify('jane@example.com', max_age => '-1s');	-- 22023
SELECT clearout_verify('jane@example.com', on_error => 'ignore');	-- 22023
\set VERBOSITY default
SELECT clearout_verify('jane@example.com', on_error => 'ignore');

-- No token is set here: that has an SQLSTATE of its own, or makes a row.
\set VERBOSITY sqlstate
SELECT clearout_verify('jane@example.com');	-- VC001
\set VERBOSITY default
\set SHOW_CONTEXT never
SELECT clearout_verify('jane@example.com');
SELECT v.email, v.status, v.safe_to_send, v.reason, v.verified_at, v.source
FROM clearout_verify(' Jane@Example.com', on_error => 'unknown') AS v;
SET clearout.on_error = 'unknown';
SELECT v.status, v.source FROM clearout_verify('jane@example.com') AS v;
RESET clearout.on_error;
SELECT state, reason, slots_used FROM clearout_status;

-- How old a stored answer may be.
INSERT INTO clearout_results (email, status, verified_at, source) VALUES
	('fresh@example.com', 'valid', now(), 'instant'),
	('stale@example.com', 'valid', now() - interval '40 days', 'instant'),
	('perhaps@example.com', 'unknown', now() - interval '2 hours', 'instant'),
	('all@example.com', 'catch_all', now() - interval '2 hours', 'instant');
\set VERBOSITY sqlstate
SELECT v.status, v.source FROM clearout_verify('Fresh@example.com') AS v;
SELECT v.status, v.source FROM clearout_verify('fresh@example.com', max_age => '0') AS v;	-- VC001
SELECT v.status, v.source FROM clearout_verify('stale@example.com') AS v;	-- VC001
SELECT v.status, v.source FROM clearout_verify('stale@example.com', max_age => '50 days') AS v;
SET clearout.max_age = '50d';
SELECT v.status, v.source FROM clearout_verify('stale@example.com') AS v;
SELECT v.status, v.source FROM clearout_verify('perhaps@example.com') AS v;	-- VC001
SET clearout.max_age_unknown = '3h';
SELECT v.status, v.source FROM clearout_verify('perhaps@example.com') AS v;
SELECT v.status, v.source FROM clearout_verify('all@example.com') AS v;
SET clearout.max_age_catch_all = '1h';
SELECT v.status, v.source FROM clearout_verify('all@example.com') AS v;	-- VC001
RESET ALL;

-- Reading goes on where spending is not allowed.
BEGIN READ ONLY;
SELECT v.status, v.source FROM clearout_verify('fresh@example.com') AS v;
SELECT v.status, v.source FROM clearout_verify('no.at.sign') AS v;
SELECT clearout_verify('jane@example.com', on_error => 'unknown');	-- 25006
ROLLBACK;
\set VERBOSITY default
DELETE FROM clearout_results;
