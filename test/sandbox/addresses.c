/*-------------------------------------------------------------------------
 * addresses.c
 *		Which verdict an address gets.
 *
 * The documented test addresses at example.com get what is documented, free
 * of charge.  Elsewhere a test chooses the verdict with the same words:
 *
 *		invalid@x.test, invalid-17@x.test	a word, alone or before - . +
 *		jane+catch_all@x.test				as a plus tag
 *		jane@mailbox-not-found.test			as first label of the domain,
 *											with - for _
 *		sub_419@x.test						a sub-status by its number
 *
 * Any other address gets a verdict by its hash, always the same one, in a
 * mix as of a real list.
 *-------------------------------------------------------------------------
 */
#include <ctype.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "addresses.h"
#include "syntax.h"
#include "table.h"

#define WORD_SIZE 64

static const Verdict words[] = {
	{.word = "invalid",.status = "invalid",.code = 406,.safe_to_send = "no",.bounce = "hard"},
	{.word = "valid",.status = "valid",.code = 200,.safe_to_send = "yes",.bounce = ""},
	{.word = "catch_all",.status = "catch_all",.code = 411,.safe_to_send = "risky",.bounce = ""},
	{.word = "unknown",.status = "unknown",.code = 412,.safe_to_send = "unknown",.bounce = ""},
	{.word = "safe_to_send_yes",.status = "valid",.code = 200,.safe_to_send = "yes",.bounce = ""},
	{.word = "safe_to_send_no",.status = "invalid",.code = 406,.safe_to_send = "no",.bounce = ""},
	{.word = "safe_to_send_risky",.status = "valid",.code = 200,.safe_to_send = "risky",.bounce = ""},
	{.word = "disposable",.status = "valid",.code = 200,.safe_to_send = "risky",.bounce = "",.disposable = true},
	{.word = "role",.status = "valid",.code = 200,.safe_to_send = "risky",.bounce = "",.role = true},
	{.word = "free",.status = "valid",.code = 200,.safe_to_send = "yes",.bounce = "",.free = true},
	{.word = "gibberish",.status = "valid",.code = 200,.safe_to_send = "risky",.bounce = "",.gibberish = true},
	{.word = "hard_bounce",.status = "invalid",.code = 406,.safe_to_send = "no",.bounce = "hard"},
	{.word = "soft_bounce",.status = "invalid",.code = 413,.safe_to_send = "no",.bounce = "soft"},
	{.word = "suggested_email_address",.status = "invalid",.code = 403,.safe_to_send = "no",.bounce = "",.suggest = true},
	{.word = "syntax_error",.status = "invalid",.code = 400,.safe_to_send = "no",.bounce = "hard"},
	{.word = "greylisted",.status = "unknown",.code = 407,.safe_to_send = "unknown",.bounce = ""},
	{.word = "spamtrap",.status = "invalid",.code = 401,.safe_to_send = "no",.bounce = "soft"},
	{.word = "blocklist_email_address",.status = "invalid",.code = 602,.safe_to_send = "no",.bounce = ""},
	{.word = "allowlist_email_address",.status = "valid",.code = 601,.safe_to_send = "yes",.bounce = ""},
	{.word = "blocklist_domain",.status = "invalid",.code = 604,.safe_to_send = "no",.bounce = ""},
	{.word = "allowlist_domain",.status = "valid",.code = 603,.safe_to_send = "yes",.bounce = ""},
	{.word = "domain_not_found",.status = "invalid",.code = 403,.safe_to_send = "no",.bounce = "hard"},
	{.word = "not_a_mailserver",.status = "invalid",.code = 404,.safe_to_send = "no",.bounce = "hard"},
	{.word = "mailbox_not_found",.status = "invalid",.code = 406,.safe_to_send = "no",.bounce = "hard"},
	{.word = "mailbox_quota_exceeded",.status = "invalid",.code = 413,.safe_to_send = "no",.bounce = "soft"},
	{.word = "dns_query_timeout",.status = "unknown",.code = 417,.safe_to_send = "unknown",.bounce = ""},
	{.word = "unroutable_mailserver",.status = "invalid",.code = 404,.safe_to_send = "no",.bounce = "hard"},
	{.word = "overquota_and_inactive",.status = "invalid",.code = 428,.safe_to_send = "no",.bounce = "soft"},
	{.word = "receiving_limit_reached",.status = "invalid",.code = 421,.safe_to_send = "no",.bounce = "soft"},

	/* older names of four of them */
	{.word = "blacklisted_email_address",.status = "invalid",.code = 602,.safe_to_send = "no",.bounce = ""},
	{.word = "whitelisted_email_address",.status = "valid",.code = 601,.safe_to_send = "yes",.bounce = ""},
	{.word = "blacklisted_domain",.status = "invalid",.code = 604,.safe_to_send = "no",.bounce = ""},
	{.word = "whitelisted_domain",.status = "valid",.code = 603,.safe_to_send = "yes",.bounce = ""},
};

#define NWORDS (sizeof(words) / sizeof(words[0]))

static const struct
{
	int			code;
	const char *status;
	const char *bounce;
	const char *reason;
}			reasons[] =
{
	{200, "valid", "", "Success"},
	{400, "invalid", "hard", "Syntax Error"},
	{401, "invalid", "soft", "Spam Trap"},
	{402, "unknown", "", "Mail Server Connection Timed Out"},
	{403, "invalid", "hard", "Domain Not Found"},
	{404, "invalid", "hard", "Not a Mail Server"},
	{405, "unknown", "", "Temporary Mail Server Error"},
	{406, "invalid", "hard", "Mailbox Not Found"},
	{407, "unknown", "", "Greylisted"},
	{411, "catch_all", "", "Catch All Mail Server"},
	{412, "unknown", "", "Undeterminable"},
	{413, "invalid", "soft", "Mailbox Quota Exceeded"},
	{414, "unknown", "", "Mail Server Refused Verification"},
	{416, "unknown", "", "No Answer From Authoritative Server"},
	{417, "unknown", "", "DNS Query Timed Out"},
	{418, "unknown", "", "DNS Error"},
	{419, "invalid", "soft", "Mail Server Out of Resources"},
	{420, "unknown", "", "Mail Server Command Timed Out"},
	{421, "invalid", "soft", "Receiving Limit Reached"},
	{428, "invalid", "soft", "Account Inactive and Over Quota"},
	{601, "valid", "", "Email Address in Allowlist"},
	{602, "invalid", "", "Email Address in Blocklist"},
	{603, "valid", "", "Domain in Allowlist"},
	{604, "invalid", "", "Domain in Blocklist"},
	{606, "invalid", "hard", "Unsupported Character"},
	{607, "valid", "", "Top-level Domain in Allowlist"},
	{609, "valid", "", "Account in Allowlist"},
	{701, "invalid", "hard", "Account Disabled"},
};

#define NREASONS (sizeof(reasons) / sizeof(reasons[0]))

static const char *const free_domains[] = {
	"gmail.com", "yahoo.com", "outlook.com", "hotmail.com", "aol.com",
	"icloud.com", "gmx.net", "web.de", "mail.ru", NULL
};
static const char *const disposable_domains[] = {
	"mailinator.com", "yopmail.com", "guerrillamail.com", "10minutemail.com", NULL
};
static const char *const role_accounts[] = {
	"admin", "info", "support", "sales", "contact", "office", "postmaster",
	"webmaster", "hello", "billing", "abuse", "team", "hr", "jobs", NULL
};

static bool
listed(const char *const *list, const char *string)
{
	for (; *list; list++)
		if (strcmp(*list, string) == 0)
			return true;
	return false;
}

const char *
addresses_reason(int code)
{
	for (size_t i = 0; i < NREASONS; i++)
		if (reasons[i].code == code)
			return reasons[i].reason;
	return "Unknown";
}

static bool
by_code(int code, Verdict *verdict)
{
	for (size_t i = 0; i < NREASONS; i++)
	{
		if (reasons[i].code != code)
			continue;
		verdict->status = reasons[i].status;
		verdict->code = code;
		verdict->bounce = reasons[i].bounce;
		switch (*verdict->status)
		{
			case 'v':
				verdict->safe_to_send = "yes";
				break;
			case 'c':
				verdict->safe_to_send = "risky";
				break;
			case 'u':
				verdict->safe_to_send = "unknown";
				break;
			default:
				verdict->safe_to_send = "no";
				break;
		}
		return true;
	}
	return false;
}

static bool
by_word(const char *word, size_t len, Verdict *verdict)
{
	for (size_t i = 0; i < NWORDS; i++)
		if (strncmp(words[i].word, word, len) == 0 && words[i].word[len] == '\0')
		{
			*verdict = words[i];
			return true;
		}
	return len == 7 && strncmp(word, "sub_", 4) == 0 && by_code(atoi(word + 4), verdict);
}

/* Did a test choose the verdict of this address (in lower case)? */
static bool
by_choice(const char *local, const char *domain, Verdict *verdict)
{
	const char *tag = strchr(local, '+');
	char		label[WORD_SIZE];
	size_t		len = strcspn(domain, ".");

	if (by_word(local, strcspn(local, "-.+"), verdict))
		return true;
	if (tag && by_word(tag + 1, strcspn(tag + 1, "-.+"), verdict))
		return true;
	if (len >= sizeof(label))
		return false;
	memcpy(label, domain, len);
	label[len] = '\0';
	for (char *p = label; *p; p++)
		if (*p == '-')
			*p = '_';
	return by_word(label, len, verdict);
}

static void
by_hash(uint32_t hash, Verdict *verdict)
{
	static const int invalid[] = {406, 406, 406, 406, 406, 406, 403, 413, 701, 404};
	static const int unknown[] = {402, 405, 407, 412, 414};
	unsigned	percent = hash % 100;

	if (percent < 70)
		by_code(200, verdict);
	else if (percent < 85)
		by_code(invalid[hash / 100 % 10], verdict);
	else if (percent < 95)
		by_code(411, verdict);
	else
		by_code(unknown[hash / 100 % 5], verdict);
}

static void
add_provider(const char *domain, uint32_t hash, Verdict *verdict)
{
	static const struct
	{
		const char *name;
		const char *mx;
	}			providers[] =
	{
		{"gsuite", "aspmx.l.google.com"},
		{"office365", "mail.protection.outlook.com"},
		{"zoho", "mx.zoho.com"},
		{"others", NULL},
	};
	unsigned	which = hash / 1000 % 4;

	if (verdict->code == 400 || verdict->code == 403 || verdict->code == 404)
	{
		verdict->smtp_provider = verdict->mx_record = "";
		return;
	}
	if (strcmp(domain, "gmail.com") == 0)
		which = 0;
	else if (strcmp(domain, "outlook.com") == 0 || strcmp(domain, "hotmail.com") == 0)
		which = 1;
	verdict->smtp_provider = providers[which].name;
	verdict->mx_record = providers[which].mx;
}

void
addresses_judge(const char *email, Verdict *verdict)
{
	char		lower[256];
	size_t		len = strlen(email);
	uint32_t	hash;
	char	   *domain;

	memset(verdict, 0, sizeof(*verdict));
	if (!syntax_ok(email))
	{
		by_code(400, verdict);
		verdict->charged = true;
		verdict->smtp_provider = verdict->mx_record = "";
		return;
	}
	for (size_t i = 0; i <= len; i++)
		lower[i] = (char) tolower((unsigned char) email[i]);
	hash = table_hash(lower);
	domain = strrchr(lower, '@');
	*domain++ = '\0';

	if (strcmp(domain, "example.com") == 0 && strncmp(lower, "sub_", 4) != 0 &&
		by_word(lower, strlen(lower), verdict))
		verdict->test = true;
	else
	{
		if (!by_choice(lower, domain, verdict))
		{
			by_hash(hash, verdict);
			verdict->free = listed(free_domains, domain);
			verdict->disposable = listed(disposable_domains, domain);
			verdict->role = listed(role_accounts, lower);
			if ((verdict->disposable || verdict->role) && verdict->code == 200)
				verdict->safe_to_send = "risky";
		}
		verdict->charged = strcmp(verdict->status, "unknown") != 0;
	}
	add_provider(domain, hash, verdict);
}

void
addresses_unprocessed(Verdict *verdict)
{
	memset(verdict, 0, sizeof(*verdict));
	verdict->status = verdict->safe_to_send = "unknown";
	verdict->bounce = verdict->smtp_provider = verdict->mx_record = "";
}

const char *
addresses_split(const char *email, char account[ADDRESS_ACCOUNT_SIZE])
{
	const char *at = strrchr(email, '@');
	size_t		len = at ? (size_t) (at - email) : strlen(email);

	if (len >= ADDRESS_ACCOUNT_SIZE)
		len = 0;
	memcpy(account, email, len);
	account[len] = '\0';
	return at ? at + 1 : "";
}

void
addresses_suggest(const Verdict *verdict, const char *account,
				  char suggested[ADDRESS_SUGGESTED_SIZE])
{
	*suggested = '\0';
	if (verdict->suggest)
		snprintf(suggested, ADDRESS_SUGGESTED_SIZE, "%s@suggested.example", account);
}

const char *
addresses_opinion(const Verdict *verdict)
{
	switch (*verdict->status)
	{
		case 'v':
			return *verdict->safe_to_send == 'y' ?
				"The mailbox exists and its provider is expected to deliver." :
				"The mailbox exists, but mail to it may not reach a person.";
		case 'c':
			return "The domain takes mail for any address, so delivery is uncertain.";
		case 'u':
			return "The mail server gave no usable answer, delivery cannot be foretold.";
		default:
			return "Mail to this address is expected to bounce.";
	}
}
