/*-------------------------------------------------------------------------
 * download.c
 *		The storage beside the API: results behind URLs that are signed.
 *
 *		/results/LIST_ID/NAME_clearout_results.csv?Expires=S&Signature=H
 *
 * With the service that is another host, which knows no token: it refuses a
 * request that brings one beside the signature.
 *-------------------------------------------------------------------------
 */
#include <ctype.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "answer.h"
#include "clock.h"
#include "download.h"
#include "result.h"
#include "serve.h"
#include "server.h"
#include "settings.h"

/* Nobody attacks a sandbox: it only must not be guessed by a wrong client. */
static uint64_t
sign(const List *list, int64_t expires)
{
	uint64_t	x = list->secret ^ ((uint64_t) expires * 0x9e3779b97f4a7c15u);

	x ^= x >> 31;
	x *= 0xd6e8feb86659fd93u;
	x ^= x >> 29;
	x *= 0xd6e8feb86659fd93u;
	return x ^ x >> 32;
}

static void
add_encoded(Text *out, const char *string)
{
	for (const char *p = string; *p; p++)
	{
		if (isalnum((unsigned char) *p) || strchr("-_.~", *p))
			text_add(out, p, 1);
		else
			text_printf(out, "%%%02X", (unsigned char) *p);
	}
}

void
download_url(const Call *call, const List *list, Text *url)
{
	int64_t		expires = call->arrived + settings.result_life;
	Text		name = {0};

	server_url(call, url);
	text_printf(url, DOWNLOAD_PATH "%s/", list->id);
	result_name(list, &name);
	add_encoded(url, name.data);
	text_printf(url, "?Expires=%lld&Signature=%016llx", (long long) expires,
				(unsigned long long) sign(list, expires));
	text_free(&name);
}

/* The list that a path names, whether it is the verifier's or the finder's. */
static List *
list_of_path(const char *path)
{
	const char *id = path + strlen(DOWNLOAD_PATH);
	size_t		len = strcspn(id, "/");
	char		copy[LIST_ID_SIZE];
	List	   *list;

	if (len != LIST_ID_SIZE - 1)
		return NULL;
	memcpy(copy, id, len);
	copy[len] = '\0';
	list = list_find(copy, LIST_VERIFY);
	return list ? list : list_find(copy, LIST_FIND);
}

const char *
download_subject(const char *path)
{
	const List *list = list_of_path(path);

	return list ? list->name : NULL;
}

void
serve_download(Call *call)
{
	List	   *list = list_of_path(call->path);
	const char *expires = call_query(call, "Expires");
	const char *signature = call_query(call, "Signature");
	char		good[20];

	if (call_header(call, "Authorization"))
	{
		answer_storage(call, 400, "InvalidArgument",
					   "Only one auth mechanism allowed; only the query string or the Authorization header should be specified");
		return;
	}
	if (list == NULL || list->expired || !list_over(list))
	{
		answer_storage(call, 404, "NoSuchKey", "The specified key does not exist.");
		return;
	}
	if (expires && signature)
		snprintf(good, sizeof(good), "%016llx",
				 (unsigned long long) sign(list, strtoll(expires, NULL, 10)));
	if (!expires || !signature || strcmp(good, signature) != 0)
	{
		answer_storage(call, 403, "SignatureDoesNotMatch",
					   "The request signature we calculated does not match the signature you provided.");
		return;
	}
	if (call->arrived >= strtoll(expires, NULL, 10))
	{
		answer_storage(call, 403, "AccessDenied", "Request has expired");
		return;
	}
	text_clear(&call->answer);
	call->status = 200;
	call->success = true;
	call->content_type = "text/csv";
	call->has_file = true;
	/* of our own: it may be sent when the list is there no more */
	call->file_fd = fcntl(list->result.fd, F_DUPFD_CLOEXEC, 0);
	call->file_len = list->result.len;
	call->file_head = list->result_header;
	call->list = list->number;
}
