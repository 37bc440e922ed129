/*-------------------------------------------------------------------------
 * people.h
 *		Who is found for a name at a domain, and for a key of the lookups.
 *-------------------------------------------------------------------------
 */
#ifndef SANDBOX_PEOPLE_H
#define SANDBOX_PEOPLE_H

#include <stdbool.h>

#define PEOPLE_EMAILS 3
#define PEOPLE_SIZE 256

typedef struct Person
{
	bool		found;
	bool		role;			/* the address is one of a group */
	char		first[PEOPLE_SIZE]; /* names in small letters */
	char		last[PEOPLE_SIZE];	/* may be empty */
	char		full[PEOPLE_SIZE];
	char		domain[PEOPLE_SIZE];
	char		company[PEOPLE_SIZE];
	char		emails[PEOPLE_EMAILS][3 * PEOPLE_SIZE];
	int			nemails;
	int			confidence;
	int			credits;		/* what it costs */
} Person;

/* False: there are characters in the name that no name has. */
extern bool people_name_ok(const char *name);

/* The domain may be one, a website, or the name of a company. */
extern void people_find(const char *name, const char *domain, Person *person);

/* Is there anybody behind this key of a lookup? */
extern bool people_known(const char *key);

/* The word that a test chose: alone, or before - . + _ @ | or a blank. */
extern bool people_word(const char *text, const char *word);

#endif							/* SANDBOX_PEOPLE_H */
