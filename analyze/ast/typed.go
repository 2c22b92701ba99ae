package ast

// predefined are the macros of the compiler that the parser's own declarations
// of built-in functions use: LP64.
const predefined = `
#define __SIZE_TYPE__ unsigned long
#define __PTRDIFF_TYPE__ long
#define __WCHAR_TYPE__ int
#define __WINT_TYPE__ unsigned
#define __INT8_TYPE__ signed char
#define __INT16_TYPE__ short
#define __INT32_TYPE__ int
#define __INT64_TYPE__ long
#define __UINT8_TYPE__ unsigned char
#define __UINT16_TYPE__ unsigned short
#define __UINT32_TYPE__ unsigned
#define __UINT64_TYPE__ unsigned long
#define __INTPTR_TYPE__ long
#define __UINTPTR_TYPE__ unsigned long
#define __CHAR_BIT__ 8
#define __SIZEOF_POINTER__ 8
#define __GNUC__ 12
#define __extension__
#define __restrict_arr restrict
int __predefined_declarator;
`
