/*-------------------------------------------------------------------------
 * convert.h
 *		Between the service's UTF-8 and the database's encoding.
 *-------------------------------------------------------------------------
 */
#ifndef CO_CONVERT_H
#define CO_CONVERT_H

/*
 * UTF-8 text in the database's encoding, palloc'd.  What that encoding lacks
 * becomes a question mark: an answer that was paid for is not refused for a
 * character in a reason.  A SQL_ASCII database takes the bytes as they are.
 */
extern char *co_text_from_utf8(const char *text);

/* The same as a datum of type text. */
extern Datum co_datum_from_utf8(const char *text);

/* The other way, palloc'd.  The bytes of a SQL_ASCII database are handed on as
 * they are, valid UTF-8 or not. */
extern char *co_text_to_utf8(const char *text, int length);

/* strlcpy() that never cuts inside a character of the database's encoding. */
extern void co_copy_text(char *copy, const char *text, size_t size);

#endif							/* CO_CONVERT_H */
