--
-- The report on a list of addresses.
--
CREATE SCHEMA regress_report;
SET search_path = regress_report, public;
CREATE TABLE customer (email text);
INSERT INTO customer VALUES ('a@x.test'), ('A@X.test'), ('b@x.test'), ('c@y.test'),
	('d@<b>.test'), (NULL), ('nonsense'), ('e@z.test');
INSERT INTO clearout_results (email, status, safe_to_send, reason, bounce_type, smtp_provider,
		disposable, verified_at, source)
	VALUES ('a@x.test', 'valid', 'yes', 'success', NULL, 'gsuite', false, now(), 'instant'),
	('b@x.test', 'invalid', 'no', '<script>alert(1)</script> & "so"', 'hard', 'o''rly & sons', true, now(), 'instant'),
	('c@y.test', 'new<word', 'risky', NULL, NULL, NULL, NULL, now() - interval '40 days', 'instant');

-- what is counted, whoever wrote the query how
SELECT d - '{oldest,newest,trend,made_at}'::text[] AS figures
FROM clearout_report_data(ARRAY(SELECT email FROM customer)) AS d;
SELECT jsonb_array_length(d->'trend') AS months, d->>'rows' AS rows
FROM clearout_report_data() AS d;
SELECT jsonb_array_length(d->'domains') AS domains FROM clearout_report_data(NULL) AS d;

-- the caller's query sees what the caller sees; an order and more columns do no harm
SELECT clearout_report('SELECT email, 1 FROM customer ORDER BY 1 -- all')
	LIKE '%<dt>rows</dt><dd>8</dd>%<dt>malformed</dt><dd>2</dd>%<dt>not verified yet</dt><dd>1</dd>%' AS as_counted;
-- no row is not the same as no query
SELECT clearout_report('SELECT email FROM customer WHERE false') LIKE '%<dt>rows</dt><dd>0</dd>%' AS none,
	clearout_report() LIKE '%<dt>rows</dt><dd>3</dd>%' AS all_stored;

-- words of strangers stay words; and the page is one piece, without links and scripts
SELECT page LIKE '%&lt;script&gt;alert(1)&lt;/script&gt; &amp;%' AS escaped,
	page ~* '<script|<b>|href|src=|url\(' AS has_markup,
	page LIKE '%<title>Q&amp;A &lt;1&gt;</title>%' AS title,
	page LIKE '%>valid: 1 (33.3 \%)</text>%' AND page LIKE '%>' || to_char(now() AT TIME ZONE 'UTC', 'YYYY-MM') || '</text>%' AS labels,
	xmlparse(DOCUMENT regexp_replace(page, '<!DOCTYPE html>', '')) IS DOCUMENT AS well_formed
FROM clearout_report('SELECT email FROM customer', 'Q&A <1>') AS page;

-- it reads with the caller's rights, and writes nothing
CREATE ROLE regress_clearout_reader;
GRANT USAGE ON SCHEMA regress_report TO regress_clearout_reader;
GRANT SELECT ON customer TO regress_clearout_reader;
SET ROLE regress_clearout_reader;
\set VERBOSITY sqlstate
SELECT clearout_report('SELECT email FROM customer');
RESET ROLE;
SELECT clearout_grant('regress_clearout_reader', 'read');
SET ROLE regress_clearout_reader;
SELECT length(clearout_report('SELECT email FROM customer')) > 3000 AS drawn;
SELECT clearout_report('SELECT rolpassword FROM pg_authid');
SELECT clearout_report('DELETE FROM customer RETURNING email');
RESET ROLE;
\set VERBOSITY default
DELETE FROM clearout_results;
DROP SCHEMA regress_report CASCADE;
DROP OWNED BY regress_clearout_reader;
DROP ROLE regress_clearout_reader;
