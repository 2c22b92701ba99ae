// Package advisory reads OSV records (Open Source Vulnerability format 1.7)
// and matches them against components by upstream identity and version.
//
// # From an advisory to code
//
// affected[].ecosystem_specific of a record ties the flaw to code:
//
//	"component":  the upstream name
//	"map":        reviewed, derived or none: how far the rest may be trusted
//	"imports":    [{"path": FILE, "symbols": [FUNCTION, …]}], the vulnerable functions
//	"conditions": what must hold in a build for the flaw to exist in it
//	"fixes":      [{"file", "name", "body"}], the fixed forms of functions (see package ast)
//
// A map is reviewed when a person has read upstream's advisory and source and
// signed off that the functions are all that is needed to trigger the flaw.
// Only a reviewed map, or a condition in one, ever proves a negative.
//
// # Conditions
//
// Functions alone cannot tell a vulnerable #ifdef region from a harmless one,
// nor say anything of a check that is missing. A condition can. It is a
// statement about a build that is necessary for the flaw: write it so that
// "flaw exists ⇒ condition holds" is true in every build of the versions that
// the record covers. Several conditions of a record are each necessary; one
// that is proved false silences the CVE. One that cannot be decided never
// does.
//
// Every condition quotes the upstream sentence that it encodes ("quote", and
// "url" for its page), so that a reader can judge it, and sets exactly one
// predicate:
//
//	{"file": "lib/ldap.c"}
//	    Some unit of this source file is compiled into a shipped ELF file.
//	{"macro": {"file": "lib/url.c", "name": "USE_SSH"}}
//	    The macro is defined in the unit of that file, as it was really
//	    preprocessed, before its first function and to its end. With "value"
//	    its replacement list must be that, letter for letter. False also where
//	    no unit of the file is compiled. Macros of the compiler (__LP64__,
//	    __aarch64__, _WIN32) are macros like others.
//	{"function": {"file": "lib/hsts.c", "name": "Curl_hsts"}}
//	    The function is linked and reachable from what starts the program.
//	{"api": ["iconv", "iconv_open"]}
//	    Something live refers to one of the names, holds an inlined copy of
//	    it, or can look it up by name.
//	{"caller": {"api": ["curl_easy_perform"], "besides": ["lib", "src"]}}
//	    As api, but what the component's own files below these folders do does
//	    not count: for flaws that a library's own program cannot trigger.
//	{"option": "--disable-ldap"}
//	    The recipe configures the component so. The last argument on the
//	    subject decides; where there is none, the condition is undecided,
//	    because a default is not a fact. Prefer a macro, which is what the
//	    option did. Spellings: --enable-X, --disable-X, --with-X, --without-X
//	    (autoconf), -DX=ON (cmake, meson), enable-X, no-X (OpenSSL).
//	{"platform": "linux/arm64"}
//	    The build's GOOS/GOARCH.
//	{"all": […]}  {"any": […]}  {"not": {…}}
//	    Three-valued: all is false when one is, any when all are, and not
//	    leaves the undecided undecided.
//
// Files are clean slash-separated paths in the upstream tree. A name that the
// tree does not hold makes its predicate undecided, never false: a misspelt
// condition silences nothing. An unknown key is an error that names the
// record.
//
// For example, for a flaw of which upstream says "an attacker needs a program
// that calls XML_ResumeParser", in code that is only compiled with DTD
// support, expat's record has
//
//	"conditions": [
//	  {"quote": "…only applications that call XML_ResumeParser are affected…",
//	   "api": ["XML_ResumeParser"]},
//	  {"quote": "…requires Expat built with DTD support…",
//	   "macro": {"file": "lib/xmlparse.c", "name": "XML_DTD"}}]
//
// How to find the predicate: read the fix; name the region that it changes;
// the #if around the region is a macro condition with its file; the option
// that an application sets to get there is an api or caller condition; a
// check that is missing for a feature is a macro condition on the feature.
// When the flaw needs one of several things, list them all under any: one left
// out is a CVE silenced wrongly. When in doubt, leave it out.
//
// # Reviews
//
// Upstream's records come without maps. A [Review] carries what a person
// found on reading them against the source of exact versions, and Match adds
// it to advisories about those versions and no others: functions are united
// with the record's, conditions are added, and the map becomes reviewed. The
// package has reviews of curl, OpenSSL and zlib of its own ([Reviews]).
package advisory
