/*-------------------------------------------------------------------------
 * download.h
 *		The storage beside the API: results behind URLs that are signed.
 *-------------------------------------------------------------------------
 */
#ifndef SANDBOX_DOWNLOAD_H
#define SANDBOX_DOWNLOAD_H

#include "call.h"
#include "lists.h"

/* Paths from here on belong to it. */
#define DOWNLOAD_PATH "/results/"

/* The name of the list that such a path is about, or NULL. */
extern const char *download_subject(const char *path);

/* An URL of the list's result, good for result_life from now on. */
extern void download_url(const Call *call, const List *list, Text *url);

#endif							/* SANDBOX_DOWNLOAD_H */
