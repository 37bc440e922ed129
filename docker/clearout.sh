#!/bin/sh
# Run once, when the playground's server is initialised: the sandbox's token,
# which is no secret, and the extension.

set -eu
file=/var/lib/postgresql/clearout.token
(umask 077 && echo "sandbox0sandbox0sandbox0sandbox0:not0a0real0token0not0a0real0token0not0a0real0token0not0a0real000" >"$file")
psql -v ON_ERROR_STOP=1 -U "${POSTGRES_USER:-postgres}" -d "${POSTGRES_DB:-postgres}" -c 'CREATE EXTENSION clearout'
