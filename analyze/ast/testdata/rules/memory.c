typedef unsigned long size_t;
void *malloc(size_t), *calloc(size_t, size_t), *realloc(void *, size_t), *alloca(size_t);
void free(void *);
size_t strlen(const char *);
void *memset(void *, int, size_t), *memcpy(void *, const void *, size_t);
void explicit_bzero(void *, size_t);
void use(const void *);
extern int wanted;
struct s { int x; struct s *next; };

int bad(size_t n, size_t m, int count, const char *src, char *out, struct s *s)
{
	unsigned char key[32];
	char *p, *q;

	use(malloc(n * m));                 // want "allocation-overflow"
	use(malloc((int)n));                // want "allocation-truncated"
	use(malloc((unsigned)(n + 1)));     // want "allocation-truncated"
	use(malloc(count + 1));             // want "allocation-signed"
	use(malloc(count * 4));             // want "allocation-signed"
	use(malloc(strlen(src)));           // want "allocation-strlen"
	p = malloc(10);                     // want "allocation-unchecked"
	p[0] = 1;
	use(alloca(n));                     // want "alloca-not-constant"
	{
		char vla[n];                // want "variable-length-array"
		use(vla);
	}
	p = realloc(p, 20);                 // want "realloc-same-pointer"
	memset(out, 0, sizeof(out));        // want "sizeof-pointer"
	s = malloc(sizeof(s));              // want "sizeof-pointer"
	use(s);
	q = malloc(8);
	if (!q)
		return 1;
	memset(q, 0, 8);                    // want "erased-before-free"
	free(q);
	free(q);                            // want "double-free"
	use(key);
	memset(key, 0, sizeof key);         // want "erased-at-end"
	return 0;
}

int good(size_t n, size_t m, int count, const char *src, char *out, struct s *s)
{
	unsigned char key[32], plain[4];
	char *p, *q;

	use(calloc(n, m));
	use(malloc(n * 8));
	use(malloc(16 * 4));
	use(malloc((size_t)count));
	use(malloc(n + 1));
	use(malloc(strlen(src) + 1));
	p = malloc(10);
	if (!p)
		return 1;
	p[0] = 1;
	use(alloca(64));
	q = realloc(p, 20);
	if (!q) {
		free(p);
		return 1;
	}
	memset(plain, 0, sizeof(plain));
	memset(out, 0, n);
	s = malloc(sizeof(*s));
	use(s);
	explicit_bzero(q, 20);
	free(q);
	q = malloc(4);
	use(q);
	free(q);
	use(key);
	explicit_bzero(key, sizeof key);
	memset(plain, 0, sizeof plain);
	use(plain);
	return 0;
}

void list(struct s *s)
{
	struct s *next;

	while (s) {
		next = s->next;
		free(s);
		s = next;
	}
	free(s);
}
