/*-------------------------------------------------------------------------
 * stream.c
 *		Bodies that are sent piece by piece: cut, dripping, huge.
 *
 * libmicrohttpd asks for the next piece; we give one, or suspend the
 * connection until it is time, or end the connection as the fault wants it.
 *-------------------------------------------------------------------------
 */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "faults.h"
#include "raw.h"
#include "spool.h"
#include "stream.h"
#include "text.h"

#define BLOCK_SIZE 16384

/*
 * How long the client may read before it is reset.  An RST at once could
 * overtake the reader: its kernel may drop what it has not read yet.
 */
#define RESET_AFTER_MS 50

/* A huge body is valid JSON all the same. */
#define HUGE_HEAD "{\"status\":\"success\",\"data\":{\"filler\":\""
#define HUGE_TAIL "\"}}"

typedef struct Stream
{
	Call	   *call;
	int			fd;				/* of a file, or -1: "answer" of the call */
	uint64_t	available;		/* bytes that we have */
	uint64_t	step;			/* bytes at once, 0 = as they come */
	bool		waited;			/* before the piece that is asked for now */
} Stream;

static void
huge_piece(uint64_t pos, uint64_t total, char *buffer, size_t len)
{
	static const size_t head = sizeof(HUGE_HEAD) - 1;
	static const size_t tail = sizeof(HUGE_TAIL) - 1;

	memset(buffer, 'x', len);
	for (size_t i = 0; i < len && pos + i < head; i++)
		buffer[i] = HUGE_HEAD[pos + i];
	for (size_t i = 0; i < len; i++)
		if (pos + i >= total - tail)
			buffer[i] = HUGE_TAIL[pos + i - (total - tail)];
}

/* A huge file is the file, and then its rows again and again. */
static size_t
file_piece(const Stream *stream, uint64_t pos, char *buffer, size_t len)
{
	const Call *call = stream->call;
	uint64_t	rows = (uint64_t) (call->file_len - call->file_head);

	if (pos >= (uint64_t) call->file_len && rows > 0)
		pos = (uint64_t) call->file_head + (pos - (uint64_t) call->file_head) % rows;
	if (len > (uint64_t) call->file_len - pos)
		len = (size_t) ((uint64_t) call->file_len - pos);
	return spool_read(stream->fd, (int64_t) pos, buffer, len);
}

/* There is nothing left, but the client was promised more. */
static ssize_t
break_off(Stream *stream)
{
	Call	   *call = stream->call;

	if (call->state == CALL_OVER)
		return MHD_CONTENT_READER_END_WITH_ERROR;
	switch (call->fault->end)
	{
		case END_HANG:
			call_wait(call, CALL_HUNG, 0);
			return 0;
		case END_RESET:
			if (!stream->waited)
			{
				stream->waited = true;
				call_wait(call, CALL_WAITING, RESET_AFTER_MS);
				return 0;
			}
			raw_reset(call->connection);
			break;
		case END_CLOSE:
			/* within chunks libmicrohttpd would take its time to close */
			raw_finish(call->connection);
			break;
	}
	return MHD_CONTENT_READER_END_WITH_ERROR;
}

static ssize_t
next_piece(void *arg, uint64_t pos, char *buffer, size_t max)
{
	Stream	   *stream = arg;
	Call	   *call = stream->call;
	const Fault *fault = call->fault;

	if (pos >= stream->available)
	{
		if (fault->kind == FAULT_CUT || fault->kind == FAULT_LONG)
			return break_off(stream);
		return MHD_CONTENT_READER_END_OF_STREAM;
	}
	if (max > stream->available - pos)
		max = (size_t) (stream->available - pos);
	if (stream->step)
	{
		if (pos > 0 && !stream->waited)
		{
			stream->waited = true;
			call_wait(call, CALL_WAITING, fault->interval_ms);
			return 0;
		}
		stream->waited = false;
		if (max > stream->step)
			max = (size_t) stream->step;
	}
	if (stream->fd >= 0)
	{
		size_t		got = file_piece(stream, pos, buffer, max);

		return got > 0 ? (ssize_t) got : MHD_CONTENT_READER_END_WITH_ERROR;
	}
	if (fault->kind == FAULT_HUGE)
		huge_piece(pos, stream->available, buffer, max);
	else
		memcpy(buffer, call->answer.data + pos, max);
	return (ssize_t) max;
}

static void
stream_free(void *arg)
{
	Stream	   *stream = arg;

	if (stream->fd >= 0)
		close(stream->fd);
	free(stream);
}

struct MHD_Response *
stream_response(Call *call)
{
	const Fault *fault = call->fault;
	Stream	   *stream = need(sizeof(*stream));
	uint64_t	len = call->has_file ? (uint64_t) call->file_len : call->answer.len;
	uint64_t	declared = len;

	memset(stream, 0, sizeof(*stream));
	stream->call = call;
	stream->fd = call->has_file ? call->file_fd : -1;
	if (call->has_file)
		call->file_fd = -1;
	stream->available = len;
	switch (fault->kind)
	{
		case FAULT_CUT:
			stream->available = fault->bytes < 0 ? len / 2 : (uint64_t) fault->bytes;
			if (stream->available >= len)
				stream->available = len ? len - 1 : 0;
			break;
		case FAULT_LONG:
			declared = len + (fault->bytes < 0 ? 100 : (uint64_t) fault->bytes);
			break;
		case FAULT_HUGE:
			declared = (uint64_t) fault->megabytes << 20;
			if (declared == 0)
				declared = sizeof(HUGE_HEAD) + sizeof(HUGE_TAIL);
			stream->available = declared;
			break;
		case FAULT_DRIP:
			stream->step = fault->bytes < 1 ? 1 : (uint64_t) fault->bytes;
			break;
		default:
			break;
	}
	if (fault->chunked)
		declared = MHD_SIZE_UNKNOWN;
	return MHD_create_response_from_callback(declared, BLOCK_SIZE, next_piece, stream, stream_free);
}
