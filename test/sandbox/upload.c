/*-------------------------------------------------------------------------
 * upload.c
 *		A multipart form with a file, read as it comes.
 *
 * The file goes into a temporary file, its records are counted on the way:
 * an upload of any length takes the same memory.
 *-------------------------------------------------------------------------
 */
#include <stdlib.h>
#include <string.h>

#include <microhttpd.h>

#include "upload.h"

#define PARSER_BUFFER 32768
#define FIELD_MAX 4096

static UploadField *
field_named(Upload *upload, const char *name)
{
	for (int i = 0; i < upload->nfields; i++)
		if (strcmp(upload->fields[i].name, name) == 0)
			return &upload->fields[i];
	if (upload->nfields == UPLOAD_FIELDS)
		return NULL;
	upload->fields[upload->nfields].name = need_copy(name);
	return &upload->fields[upload->nfields++];
}

static enum MHD_Result
on_piece(void *arg, enum MHD_ValueKind kind, const char *name, const char *file_name,
		 const char *content_type, const char *encoding, const char *data,
		 uint64_t offset, size_t len)
{
	Upload	   *upload = arg;
	UploadField *field;

	(void) kind;
	(void) content_type;
	(void) encoding;
	if (name == NULL)
		return MHD_YES;
	if (strcmp(name, "file") == 0 && file_name && *file_name)
	{
		/* a second file begins where the first one does */
		if (offset == 0 && upload->file_name && upload->file.len > 0)
		{
			upload->malformed = true;
			return MHD_NO;
		}
		if (upload->file_name == NULL)
			upload->file_name = need_copy(file_name);
		if (upload->file.len + (int64_t) len > upload->max)
		{
			upload->too_large = true;
			return MHD_NO;
		}
		spool_add(&upload->file, data, len);
		csv_count(&upload->csv, data, len);
		return MHD_YES;
	}
	field = field_named(upload, name);
	if (field == NULL || field->value.len + len > FIELD_MAX)
	{
		upload->malformed = true;
		return MHD_NO;
	}
	text_add(&field->value, data ? data : "", len);
	return MHD_YES;
}

Upload *
upload_begin(struct MHD_Connection *connection, int64_t max)
{
	Upload	   *upload = need(sizeof(*upload));

	memset(upload, 0, sizeof(*upload));
	upload->max = max;
	upload->parser = MHD_create_post_processor(connection, PARSER_BUFFER, on_piece, upload);
	spool_open(&upload->file);
	csv_count_begin(&upload->csv);
	return upload;
}

void
upload_add(Upload *upload, const char *data, size_t len)
{
	/* what is refused is read to its end all the same */
	if (upload->parser == NULL || upload->malformed || upload->too_large)
		return;
	if (MHD_post_process(upload->parser, data, len) != MHD_YES && !upload->too_large)
		upload->malformed = true;
}

void
upload_end(Upload *upload)
{
	/* fails if the last boundary is missing */
	if (upload->parser && MHD_destroy_post_processor(upload->parser) != MHD_YES &&
		!upload->too_large)
		upload->malformed = true;
	upload->parser = NULL;
	csv_count_end(&upload->csv);
	spool_flush(&upload->file);
}

void
upload_free(Upload *upload)
{
	if (upload->parser)
		MHD_destroy_post_processor(upload->parser);
	spool_close(&upload->file);
	text_free(&upload->csv.header);
	free(upload->file_name);
	for (int i = 0; i < upload->nfields; i++)
	{
		free(upload->fields[i].name);
		text_free(&upload->fields[i].value);
	}
	free(upload);
}

const char *
upload_field(const Upload *upload, const char *name)
{
	for (int i = 0; i < upload->nfields; i++)
		if (strcmp(upload->fields[i].name, name) == 0)
			return upload->fields[i].value.data;
	return NULL;
}
