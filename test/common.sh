# shellcheck shell=bash
# What setup, demo and check share.  Sourced, with "set -euo pipefail" on.
#
# They work on a copy of the tree in a scratch directory, as an unprivileged
# user (servers refuse to run as root), and load the extension from there: the
# tree and the system's PostgreSQL stay as they are.

top=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
newest=18						# PostgreSQL releases from 15 to this one

wanted_pg_config=${PG_CONFIG:-}

umask 022
# Whatever points elsewhere: PGHOST, PGPORT, PGDATABASE, PGSERVICE, ...
unset "${!PG@}" MAKEFLAGS MAKELEVEL MFLAGS TEMP_CONFIG PROVE_OPTS

say()
{
	printf '%s\n' "$*"
}

die()
{
	printf '%s: %s\n' "${0##*/}" "$*" >&2
	exit 1
}

# Is this pg_config one of a release that we know, with what is needed to
# build and test: the server's program, its headers, and the files for extensions?
complete_pg_config()
{
	local version bindir pgxs headers

	version=$("$1" --version 2>/dev/null) || return 1
	version=${version#PostgreSQL }
	version=${version%%[!0-9]*}
	[[ -n $version && $version -ge 15 ]] || return 1
	bindir=$("$1" --bindir)
	pgxs=$("$1" --pgxs)
	headers=$("$1" --includedir-server)
	[[ -x $bindir/postgres && -x $bindir/initdb && -f $pgxs && -f $headers/postgres.h &&
		-f ${pgxs%/makefiles/pgxs.mk}/test/perl/PostgreSQL/Test/Cluster.pm ]]
}

# Sets pg_config to the one to use; false if there is none.  The environment's
# PG_CONFIG comes first, then Debian's directories, then the PATH.
find_pg_config()
{
	local version found

	if [[ -n $wanted_pg_config ]]; then
		pg_config=$(command -v "$wanted_pg_config") ||
			die "there is no PG_CONFIG=$wanted_pg_config"
		complete_pg_config "$pg_config" ||
			die "PG_CONFIG=$wanted_pg_config: not PostgreSQL 15 or later with server, PGXS and Perl test modules"
		return
	fi
	for ((version = newest; version >= 15; version--)); do
		pg_config=/usr/lib/postgresql/$version/bin/pg_config
		complete_pg_config "$pg_config" && return
	done
	if found=$(command -v pg_config) && complete_pg_config "$found"; then
		pg_config=$found
		return
	fi
	return 1
}

# Make the scratch directory and put a copy of the tree there.  Sets scratch,
# source (the copy), stage (where the extension is installed), bindir, user
# and as_user (the command that runs another one as that user).
make_scratch()
{
	local group=

	find_pg_config || die "no PostgreSQL to test with; see test/setup"
	bindir=$("$pg_config" --bindir)
	scratch=${TMPDIR:-/tmp}
	((${#scratch} < 50)) || scratch=/tmp	# names of sockets have a limit
	scratch=$(mktemp -d "$scratch/clearout-$1.XXXXXX")
	source=$scratch/clearout
	stage=$scratch/stage
	user=$(id -un)
	as_user=(env)
	if ((EUID == 0)); then
		user=nobody
		if id postgres >/dev/null 2>&1; then
			user=postgres
		fi
		group=$(id -gn "$user")
		as_user=(setpriv --reuid="$user" --regid="$group" --init-groups --reset-env
			-- env TERM="${TERM:-dumb}")
	fi
	as_user+=(HOME="$scratch" PATH="$PATH" LC_ALL=C PG_CONFIG="$pg_config"
		${CC:+CC="$CC"})

	mkdir "$source"
	# tar's 1 says that a file has changed meanwhile; who edits may do that
	{ tar -C "$top" -cf - \
		--exclude=./.git --exclude='*.o' --exclude='*.bc' --exclude='*.so' --exclude='*.d' \
		--exclude=build --exclude=results --exclude=output_iso --exclude=log \
		--exclude=tmp_check --exclude=tmp_check_iso --exclude='regression.*' . ||
		(($? == 1)); } | tar -C "$source" --no-same-owner -xf -
	if [[ -n $group ]]; then
		chown -R "$user:$group" "$scratch"
	fi
	cd "$scratch" || exit		# wherever we were, that user may not be
}

# Programs for tests that no package is installed for, since it would start a
# service: setup puts them there.
tools=/var/cache/clearout-tests
((EUID == 0)) || [[ -e $tools ]] || sudo -n true 2>/dev/null ||
	tools=${XDG_CACHE_HOME:-${HOME:-/nonexistent}/.cache}/clearout-tests

# The same of an older release, for pg_upgrade: build and install it from a copy
# of its own, with the settings in $scratch/old-stage.conf.
stage_old_release()
(
	pg_config=$1
	complete_pg_config "$pg_config" || die "$pg_config: not PostgreSQL 15 or later, with all that building wants"
	bindir=$("$pg_config" --bindir)
	as_user+=(PG_CONFIG="$pg_config")
	"${as_user[@]}" cp -R "$source" "$scratch/old"
	source=$scratch/old
	stage=$scratch/old-stage
	"${as_user[@]}" make -s -C "$source" clean with_llvm=no >&2 &&
		"${as_user[@]}" make -s -j2 -C "$source" with_llvm=no >&2 &&
		stage_extension
)

# Stop whatever server still runs in the scratch directory, and remove it.
remove_scratch()
{
	local pid_file

	[[ -n ${scratch:-} && -d $scratch ]] || return 0
	while IFS= read -r pid_file; do
		"${as_user[@]}" "$bindir/pg_ctl" -D "${pid_file%/postmaster.pid}" -m immediate -W stop \
			>/dev/null 2>&1 || true
	done < <(find "$scratch" -name postmaster.pid)
	cd /
	# a server that is ending may still write
	rm -rf "$scratch" 2>/dev/null || { sleep 1; rm -rf "$scratch"; }
}

server_has_setting()
{
	"$bindir/postgres" --describe-config | grep "^$1	" >/dev/null
}

# Install what was built in $source where the servers that we start find it,
# and write the settings that they need for that to $stage.conf.
# Debian's and Ubuntu's servers have extension_destdir up to 17, and all have
# extension_control_path from 18 on.  Others have nothing of that kind.  In
# either case a library that is installed for good must not come first.
stage_extension()
{
	local make=("${as_user[@]}" make -s -C "$source" with_llvm=no)
	local sharedir pkglibdir

	sharedir=$("$pg_config" --sharedir)
	pkglibdir=$("$pg_config" --pkglibdir)
	if server_has_setting extension_destdir; then
		"${make[@]}" install DESTDIR="$stage" >&2 || return 1
		say "extension_destdir = '$stage'"
		say "dynamic_library_path = '$stage$pkglibdir:\$libdir'"
	elif server_has_setting extension_control_path; then
		"${make[@]}" install DESTDIR="$stage" >&2 || return 1
		say "extension_control_path = '$stage$sharedir:\$system'"
		say "dynamic_library_path = '$stage$pkglibdir:\$libdir'"
	else
		say "This server loads extensions from $pkglibdir only: installing there." >&2
		if [[ -w $pkglibdir && -w $sharedir/extension ]]; then
			make -s -C "$source" with_llvm=no install PG_CONFIG="$pg_config" >&2 || return 1
		elif sudo -n true 2>/dev/null; then
			sudo -n make -s -C "$source" with_llvm=no install PG_CONFIG="$pg_config" >&2 || return 1
		else
			die "run this first: make && sudo make install PG_CONFIG=$pg_config"
		fi
	fi >"$stage.conf"
}
