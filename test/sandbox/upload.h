/*-------------------------------------------------------------------------
 * upload.h
 *		A multipart form with a file, read as it comes.
 *-------------------------------------------------------------------------
 */
#ifndef SANDBOX_UPLOAD_H
#define SANDBOX_UPLOAD_H

#include <stdbool.h>
#include <stdint.h>

#include "csv.h"
#include "spool.h"
#include "text.h"

struct MHD_Connection;

#define UPLOAD_FIELDS 8

typedef struct UploadField
{
	char	   *name;
	Text		value;
} UploadField;

typedef struct Upload
{
	struct MHD_PostProcessor *parser;	/* NULL: this is not a form */
	Spool		file;			/* the part "file" */
	char	   *file_name;		/* NULL: none, or not a file part */
	CsvCounter	csv;
	UploadField fields[UPLOAD_FIELDS];	/* the others, as they came */
	int			nfields;
	bool		malformed;
	bool		too_large;
	int64_t		max;
} Upload;

extern Upload *upload_begin(struct MHD_Connection *connection, int64_t max);
extern void upload_add(Upload *upload, const char *data, size_t len);
extern void upload_end(Upload *upload);
extern void upload_free(Upload *upload);

/* The value of a field, or NULL. */
extern const char *upload_field(const Upload *upload, const char *name);

#endif							/* SANDBOX_UPLOAD_H */
