/*-------------------------------------------------------------------------
 * people.c
 *		Who is found for a name at a domain, and for a key of the lookups.
 *
 * A test chooses with the first word of the name, or the first label of the
 * domain:
 *
 *		Nobody Doe, nobody.test		nothing is found
 *		Role Doe, role.test			an address of a group
 *		Many Doe, many.test			three candidates
 *		Somebody Doe, somebody.test	one
 *
 * For any other name the hash of name and domain decides, always in the same
 * way: one in six is not found, one in ten is a group.
 *-------------------------------------------------------------------------
 */
#include <ctype.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "people.h"
#include "table.h"
#include "text.h"

#define PERSONAL_PRICE 4
#define ROLE_PRICE 2

bool
people_name_ok(const char *name)
{
	bool		letters = false;

	for (const unsigned char *p = (const unsigned char *) name; *p; p++)
	{
		if (isalpha(*p) || *p >= 0x80)
			letters = true;
		else if (!strchr(" .,'-()", *p))
			return false;
	}
	return letters;
}

static void
lower(char *to, size_t size, const char *from, size_t len)
{
	if (len >= size)
		len = size - 1;
	for (size_t i = 0; i < len; i++)
		to[i] = (char) tolower((unsigned char) from[i]);
	to[len] = '\0';
}

bool
people_word(const char *text, const char *word)
{
	size_t		len = strcspn(text, "-.+_@| ");

	if (strlen(word) != len)
		return false;
	for (size_t i = 0; i < len; i++)
		if (tolower((unsigned char) text[i]) != word[i])
			return false;
	return true;
}

/* First and last name, without a title. */
static void
split_name(const char *name, Person *person)
{
	static const char *const titles[] = {"mr", "mrs", "ms", "dr", "prof", "mr.", "mrs.", "ms.", "dr.", "prof.", NULL};
	char		text[PEOPLE_SIZE];
	char	   *first;
	char	   *last;
	char	   *end;

	lower(text, sizeof(text), name, strlen(name));
	first = text;
	for (;;)
	{
		bool		title = false;

		first += strspn(first, " ");
		for (int i = 0; titles[i]; i++)
		{
			size_t		len = strlen(titles[i]);

			if (strncmp(first, titles[i], len) == 0 && first[len] == ' ')
			{
				first += len;
				title = true;
				break;
			}
		}
		if (!title)
			break;
	}
	for (end = first + strlen(first); end > first && end[-1] == ' '; end--)
		end[-1] = '\0';
	last = strrchr(first, ' ');
	snprintf(person->full, sizeof(person->full), "%s", first);
	if (last)
	{
		snprintf(person->last, sizeof(person->last), "%s", last + 1);
		while (last > first && last[-1] == ' ')
			last--;
		*last = '\0';
	}
	snprintf(person->first, sizeof(person->first), "%s", first);
}

/* https://www.acme.test/x and acme.test are the same; ACME Inc is acme-inc.test. */
static void
tidy_domain(const char *domain, Person *person)
{
	char		text[PEOPLE_SIZE - 8];
	char	   *p = text;
	char	   *dot;

	lower(text, sizeof(text), domain, strlen(domain));
	if (strstr(p, "://"))
		p = strstr(p, "://") + 3;
	if (strncmp(p, "www.", 4) == 0)
		p += 4;
	p[strcspn(p, "/?#")] = '\0';
	for (size_t len = strlen(p); len > 0 && p[len - 1] == ' '; len--)
		p[len - 1] = '\0';
	for (char *c = p; *c; c++)
		if (*c == ' ')
			*c = '-';
	snprintf(person->domain, sizeof(person->domain), "%s%s", p, strchr(p, '.') ? "" : ".test");
	snprintf(person->company, sizeof(person->company), "%s", p);
	dot = strchr(person->company, '.');
	if (dot)
		*dot = '\0';
}

/* Letters and digits alone, for an address. */
static void
add_account(char *to, size_t size, const char *from)
{
	size_t		len = strlen(to);

	for (; *from && len + 1 < size; from++)
		if (isalnum((unsigned char) *from))
			to[len++] = *from;
	to[len] = '\0';
}

static void
add_email(Person *person, const char *account)
{
	snprintf(person->emails[person->nemails++], sizeof(person->emails[0]), "%s@%s",
			 *account ? account : "x", person->domain);
}

void
people_find(const char *name, const char *domain, Person *person)
{
	char		key[2 * PEOPLE_SIZE + 2];
	char		account[2 * PEOPLE_SIZE] = "";
	uint32_t	hash;
	int			count = 1;

	memset(person, 0, sizeof(*person));
	split_name(name, person);
	tidy_domain(domain, person);
	snprintf(key, sizeof(key), "%s|%s", person->full, person->domain);
	hash = table_hash(key);
	person->found = hash % 6 != 0;
	person->role = hash / 6 % 10 == 0;

#define CHOSEN(word) (people_word(person->full, word) || people_word(person->domain, word))
	if (CHOSEN("nobody"))
		person->found = false;
	else if (CHOSEN("role"))
		person->found = person->role = true;
	else if (CHOSEN("many") || CHOSEN("somebody"))
	{
		person->found = true;
		person->role = false;
		count = CHOSEN("many") ? PEOPLE_EMAILS : 1;
	}
#undef CHOSEN
	if (!person->found)
		return;
	person->confidence = 50 + (int) (hash / 60 % 50);
	person->credits = person->role ? ROLE_PRICE : PERSONAL_PRICE;
	if (person->role)
	{
		add_email(person, "info");
		return;
	}
	add_account(account, sizeof(account), person->first);
	if (*person->last)
	{
		size_t		len = strlen(account);

		snprintf(account + len, sizeof(account) - len, ".");
		add_account(account, sizeof(account), person->last);
	}
	add_email(person, account);
	if (count > 1)
	{
		account[strcspn(account, ".")] = '\0';
		add_email(person, account);
		account[1] = '\0';
		add_account(account, sizeof(account), person->last);
		add_email(person, account);
	}
}

bool
people_known(const char *key)
{
	const char *at = strchr(key, '@');
	const char *tail = strrchr(key, '/');
	uint32_t	hash = table_hash(key);

	if (people_word(key, "nobody") || (at && people_word(at + 1, "nobody")) ||
		(tail && people_word(tail + 1, "nobody")))
		return false;
	if (people_word(key, "somebody") || (at && people_word(at + 1, "somebody")) ||
		(tail && people_word(tail + 1, "somebody")))
		return true;
	return hash % 6 != 0;
}
