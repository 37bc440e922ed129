/*-------------------------------------------------------------------------
 * token.h
 *		The API token: read from its file, kept in the worker alone.
 *-------------------------------------------------------------------------
 */
#ifndef CO_TOKEN_H
#define CO_TOKEN_H

#define CO_TOKEN_SIZE 1024

/*
 * Read the token file.  On failure *token is "" and reason says why, naming
 * the file but nothing of its content.
 */
extern bool co_token_read(const char *path, char *token, size_t token_size,
						  char *reason, size_t reason_size);

/* Hash of token and base URL: what tells rate windows apart.  Never zero. */
extern uint64 co_token_hash(const char *token, const char *base_url);

/* Value of the Authorization header. */
extern void co_token_authorization(const char *token, int scheme,
								   char *value, size_t size);

#endif							/* CO_TOKEN_H */
