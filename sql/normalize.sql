-- Normal form and syntax of addresses: local, free, the same for ever.
SELECT input, clearout_normalize(input) AS normal, clearout_syntax_error(input) AS error
FROM unnest(ARRAY[
	'jane@example.com',
	'Jane.Doe@EXAMPLE.com',
	'  jane@example.com ',
	'jane+tag@example.com',
	'a!#$%&''*+-/=?^_`{|}~z@example.com',
	'jane@example.com.',
	-- quoted local parts
	'"jane"@example.com',
	'"Jane Doe"@example.com',
	'"a@b"@example.com',
	'"say \"hi\""@example.com',
	'"\j\a\n\e"@example.com',
	'""@example.com',
	'"jane@example.com',
	'"jane"doe@example.com',
	-- domains
	'jane@sub.example.co.uk',
	'jane@xn--bcher-kva.example',
	'jane@r1--a.example.com',
	'jane@localhost',
	'jane@example..com',
	'jane@.example.com',
	'jane@-example.com',
	'jane@example-.com',
	'jane@exam_ple.com',
	'jane@exam ple.com',
	'jane@example.123',
	-- address literals
	'jane@[192.0.2.1]',
	'jane@[IPv6:2001:DB8::1]',
	'jane@[ipv6:2001:db8:0:0:0:0:0:1]',
	'jane@[192.0.2.256]',
	'jane@[2001:db8::1]',
	'jane@[192.0.2.1',
	-- what is wrong
	'',
	'   ',
	'jane',
	'@example.com',
	'jane@',
	'jane@@example.com',
	'.jane@example.com',
	'jane.@example.com',
	'ja..ne@example.com',
	'ja ne@example.com',
	'jane(home)@example.com',
	'Jane <jane@example.com>',
	E'ja\u0001ne@example.com',
	E'ja\u0085ne@example.com'
]) WITH ORDINALITY AS t (input, n) ORDER BY n;

-- Beyond ASCII: the domain becomes A-labels, the local part is kept.
SELECT input, clearout_normalize(input) AS normal, clearout_syntax_error(input) AS error
FROM unnest(ARRAY[
	U&'jane@B\00FCcher.example',
	U&'jane@bu\0308cher.example',
	U&'jane@fa\00DF.example',
	U&'jane@\4F8B\5B50\3002example',
	U&'j\00F6rg@example.com',
	U&'J\00D6RG@example.com',
	U&'jane@\2603.example'
]) WITH ORDINALITY AS t (input, n) ORDER BY n;

-- Limits of length, in octets: 64, 63 a label, 254 in all.
SELECT what, octet_length(clearout_normalize(input)) AS length, clearout_syntax_error(input) AS error
FROM (VALUES
	(1, 'local 64', repeat('a', 64) || '@example.com'),
	(2, 'local 65', repeat('a', 65) || '@example.com'),
	(3, 'label 63', 'a@' || repeat('b', 63) || '.com'),
	(4, 'label 64', 'a@' || repeat('b', 64) || '.com'),
	(5, 'all 254', repeat('a', 62) || '@' || repeat('b.', 94) || 'com'),
	(6, 'all 255', repeat('a', 63) || '@' || repeat('b.', 94) || 'com'),
	(7, 'domain 256', 'a@' || repeat('b.', 126) || 'comm'),
	(8, 'a megabyte', repeat('a', 1000000) || '@example.com')
) AS t (n, what, input) ORDER BY n;

-- A normal form is its own normal form; either there is one or an error.
SELECT count(*) AS addresses,
	count(*) FILTER (WHERE clearout_normalize(normal) IS DISTINCT FROM normal) AS unstable,
	count(*) FILTER (WHERE (normal IS NULL) = (error IS NULL)) AS contradictory
FROM (
	SELECT clearout_normalize(input) AS normal, clearout_syntax_error(input) AS error
	FROM (
		SELECT l || at || d AS input
		FROM unnest(ARRAY['', 'a', 'A.b', '"a"', '"A b"', '.', '"', U&'\00E9', ' x']) AS l,
			unnest(ARRAY['@', '@@', '', ' @ ']) AS at,
			unnest(ARRAY['', 'example.com', 'EXAMPLE.com.', '[127.0.0.1]', '[IPv6:::1]',
				'xn--bcher-kva.example', U&'b\00FCcher.example', 'com', '-']) AS d
	) AS inputs
) AS forms WHERE normal IS NOT NULL OR error IS NOT NULL;

SELECT clearout_normalize(E' \t\u000Bjane@example.com\f\r\n') AS normal;
SELECT clearout_normalize(NULL) IS NULL AS normal, clearout_syntax_error(NULL) IS NULL AS error;

-- Fit for indexes, constraints and parallel plans.
SELECT proname, provolatile, proparallel, proisstrict
FROM pg_proc
WHERE oid IN ('clearout_normalize(text)'::regprocedure,
	'clearout_syntax_error(text)'::regprocedure,
	'clearout_verify(text, interval, interval, text)'::regprocedure)
ORDER BY proname COLLATE "C";

CREATE TABLE subscriber (
	id integer PRIMARY KEY,
	email text CONSTRAINT email_syntax CHECK (clearout_syntax_error(email) IS NULL)
);
CREATE UNIQUE INDEX subscriber_email ON subscriber (clearout_normalize(email));
INSERT INTO subscriber VALUES (1, 'Jane@Example.com'), (2, 'joe@example.com'), (3, NULL), (4, NULL);
\set VERBOSITY sqlstate
INSERT INTO subscriber VALUES (5, 'joe@example');	-- 23514
INSERT INTO subscriber VALUES (6, ' jane@example.COM');	-- 23505
\set VERBOSITY default
SET enable_seqscan = off;
EXPLAIN (COSTS OFF) SELECT id FROM subscriber WHERE clearout_normalize(email) = 'jane@example.com';
SELECT id FROM subscriber WHERE clearout_normalize(email) = clearout_normalize('JANE@EXAMPLE.COM');
RESET enable_seqscan;

-- A generated column of it.
ALTER TABLE subscriber ADD COLUMN key text GENERATED ALWAYS AS (clearout_normalize(email)) STORED;
SELECT id, key FROM subscriber ORDER BY id;

-- Malformed addresses are answered without asking anybody.
SELECT v.email, v.status, v.safe_to_send, v.sub_status, v.reason, v.bounce_type, v.source, v.raw
FROM clearout_verify('jane@example') AS v;
SELECT v.email, v.status, v.source FROM clearout_verify('') AS v;
SELECT clearout_verify(NULL) IS NULL AS nothing;
DROP TABLE subscriber;
