/*-------------------------------------------------------------------------
 * token.c
 *		The API token: read from its file, kept in the worker alone.
 *
 * The rules for the file are those for ssl_key_file: owned by the server's
 * user and closed to everybody else, or owned by root and at most readable
 * for the group.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/cryptohash.h"
#include "common/sha2.h"
#include "storage/fd.h"
#include "utils/resowner.h"

#include "guc.h"
#include "token.h"

static bool
complain(char *reason, size_t size, const char *path, const char *what)
{
	snprintf(reason, size, "Token file \"%s\" %s.", path, what);
	return false;
}

bool
co_token_read(const char *path, char *token, size_t token_size,
			  char *reason, size_t reason_size)
{
	struct stat status;
	int			file;
	int			length;

	token[0] = '\0';
	if (path == NULL || path[0] == '\0')
	{
		strlcpy(reason, "The setting clearout.api_token_file is empty.", reason_size);
		return false;
	}

	/* O_NONBLOCK: opening a FIFO must not wait for a writer. */
	file = BasicOpenFile(path, O_RDONLY | O_NONBLOCK | PG_BINARY);
	if (file < 0)
	{
		snprintf(reason, reason_size, "Token file \"%s\" cannot be opened: %s.",
				 path, strerror(errno));
		return false;
	}
	if (fstat(file, &status) != 0 || !S_ISREG(status.st_mode))
	{
		close(file);
		return complain(reason, reason_size, path, "is not a regular file");
	}
	if (status.st_uid != geteuid() && status.st_uid != 0)
	{
		close(file);
		return complain(reason, reason_size, path,
						"must be owned by the server's user or by root");
	}
	if ((status.st_uid == geteuid() && (status.st_mode & (S_IRWXG | S_IRWXO))) ||
		(status.st_uid != geteuid() && (status.st_mode & (S_IWGRP | S_IXGRP | S_IRWXO))))
	{
		close(file);
		return complain(reason, reason_size, path,
						"is open to others; its mode must be 0600 or less, or 0640 or less if root owns it");
	}

	length = read(file, token, token_size);
	close(file);
	if (length < 0 || (size_t) length >= token_size)
	{
		explicit_bzero(token, token_size);
		return complain(reason, reason_size, path,
						length < 0 ? "cannot be read" : "is too long to hold a token");
	}

	while (length > 0 && isspace((unsigned char) token[length - 1]))
		length--;
	token[length] = '\0';
	if (length == 0)
		return complain(reason, reason_size, path, "is empty");

	/* Nothing that would break out of a header line. */
	for (int i = 0; i < length; i++)
	{
		if ((unsigned char) token[i] <= ' ' || (unsigned char) token[i] >= 0x7F)
		{
			explicit_bzero(token, token_size);
			return complain(reason, reason_size, path,
							"holds something else than one token on one line");
		}
	}
	return true;
}

uint64
co_token_hash(const char *token, const char *base_url)
{
	ResourceOwner old_owner = CurrentResourceOwner;
	ResourceOwner owner = ResourceOwnerCreate(old_owner, "clearout token");
	pg_cryptohash_ctx *context;
	uint8		digest[PG_SHA256_DIGEST_LENGTH] = {0};
	uint64		hash;

	/* The server's SHA-256 wants an owner, and we run outside transactions. */
	CurrentResourceOwner = owner;
	context = pg_cryptohash_create(PG_SHA256);
	if (context == NULL ||
		pg_cryptohash_init(context) < 0 ||
		pg_cryptohash_update(context, (const uint8 *) token, strlen(token) + 1) < 0 ||
		pg_cryptohash_update(context, (const uint8 *) base_url, strlen(base_url)) < 0 ||
		pg_cryptohash_final(context, digest, sizeof(digest)) < 0)
		elog(ERROR, "could not compute a hash");
	pg_cryptohash_free(context);
	CurrentResourceOwner = old_owner;
	ResourceOwnerDelete(owner);

	memcpy(&hash, digest, sizeof(hash));
	return hash != 0 ? hash : 1;
}

void
co_token_authorization(const char *token, int scheme, char *value, size_t size)
{
	const char *prefix = "";

	switch ((CoAuthScheme) scheme)
	{
		case CO_AUTH_BEARER:
			prefix = "Bearer ";
			break;
		case CO_AUTH_TOKEN:
			break;
		case CO_AUTH_BEARER_COLON:
			prefix = "Bearer:";
			break;
	}
	snprintf(value, size, "%s%s", prefix, token);
}
