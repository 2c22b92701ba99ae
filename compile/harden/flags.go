package harden

const (
	applies  = "applies"
	noCode   = "applies: compile time only"
	linkTime = "applies: link time only"
)

// analysis is what the analysis layers read from objects and DWARF, in every
// profile.
func analysis() []Flag {
	return []Flag{
		{Args: []string{"-O2"}, Place: PlaceCompile, Musl: applies,
			Purpose: "one level of optimisation everywhere; FORTIFY and most warnings need it",
			Cancels: []string{"-O*"}, Equals: []string{"-Os", "-O3"}},
		{Args: []string{"-g1"}, Place: PlaceCompile, Musl: applies,
			Purpose: "line tables and inlined calls for the binary layer, without types and variables",
			Cancels: []string{"-g0", "-ggdb0"}, Equals: []string{"-g", "-g2", "-g3"}},
		{Args: []string{"-grecord-gcc-switches"}, Place: PlaceCompile, Musl: applies,
			Purpose: "the options of each unit are in its DWARF, so that the binary can be asked",
			Cancels: []string{"-gno-record-gcc-switches"}},
		{Args: []string{"-ffunction-sections"}, Place: PlaceCompile, Musl: applies,
			Purpose: "a node of its own in the section graph for each function",
			Cancels: []string{"-fno-function-sections"}},
		{Args: []string{"-fdata-sections"}, Place: PlaceCompile, Musl: applies,
			Purpose: "a node of its own in the section graph for each object",
			Cancels: []string{"-fno-data-sections"}},
		{Args: []string{"-fno-ipa-icf"}, Place: PlaceCompile, Musl: applies,
			Purpose: "no folding of identical functions: presence stays a question of one function",
			Cancels: []string{"-fipa-icf*"}},
		{Args: []string{"-fno-lto"}, Place: PlaceCompile, Musl: applies,
			Purpose: "objects hold machine code with relocations, which the section graph reads",
			Cancels: []string{"-flto*"}},
	}
}

func production() []Flag {
	return []Flag{
		{Args: []string{"-fPIE"}, Place: PlaceBefore, Musl: applies + ": linked static-pie",
			Purpose: "the program is loaded at a random address",
			Cancels: []string{"-fno-pie", "-fno-PIE", "-fno-pic", "-fno-PIC"}, Equals: []string{"-fPIC", "-fpic", "-fpie"}},
		{Args: []string{"-U_FORTIFY_SOURCE", "-D_FORTIFY_SOURCE=3"}, Place: PlaceCompile, GCC: 12,
			Musl:    "no effect: musl's headers hold no checks; needs a fortify-headers overlay",
			Purpose: "bounds checks in the C library's functions",
			Cancels: []string{"-U_FORTIFY_SOURCE", "-D_FORTIFY_SOURCE*"}},
		{Args: []string{"-D_GLIBCXX_ASSERTIONS"}, Place: PlaceCompile, Musl: applies + " to libstdc++",
			Purpose: "checks preconditions of the C++ library",
			Cancels: []string{"-U_GLIBCXX_ASSERTIONS"}},
		{Args: []string{"-fstack-protector-strong"}, Place: PlaceCompile, Musl: applies,
			Purpose: "a canary in every frame that holds an array or whose address is taken",
			Cancels: []string{"-fno-stack-protector", "-fstack-protector", "-fstack-protector-explicit"},
			Equals:  []string{"-fstack-protector-all"}},
		{Args: []string{"-fstack-clash-protection"}, Place: PlaceCompile, GCC: 8, Musl: applies,
			Purpose: "large frames touch every page, so that they cannot jump the guard page",
			Cancels: []string{"-fno-stack-clash-protection"}},
		{Args: []string{"-fcf-protection=full"}, Place: PlaceCompile, GCC: 8,
			Musl:    "marks only: musl's own assembly carries no note, so the linked file has none, and nothing enforces it",
			Purpose: "landing pads for indirect branches and a shadow stack (x86 CET)",
			Cancels: []string{"-fcf-protection=*", "-fcf-protection"}},
		{Args: []string{"-fno-delete-null-pointer-checks"}, Place: PlaceCompile, Musl: applies,
			Purpose: "a null check is kept where the compiler believes it cannot fail",
			Cancels: []string{"-fdelete-null-pointer-checks"}},
		{Args: []string{"-fno-strict-overflow"}, Place: PlaceCompile, Musl: applies,
			Purpose: "signed overflow wraps instead of being assumed away",
			Cancels: []string{"-fstrict-overflow", "-fno-wrapv", "-fno-wrapv-pointer"}},
		{Args: []string{"-fno-strict-aliasing"}, Place: PlaceCompile, Musl: applies,
			Purpose: "no optimisation on the assumption that types do not alias",
			Cancels: []string{"-fstrict-aliasing"}},
		{Args: []string{"-ftrivial-auto-var-init=zero"}, Place: PlaceCompile, GCC: 12, Musl: applies,
			Purpose: "local variables without an initialiser start as zero",
			Cancels: []string{"-ftrivial-auto-var-init=*"}},
		{Args: []string{"-Wformat", "-Wformat-security"}, Place: PlaceCompile, Musl: noCode,
			Purpose: "format strings that are not literals are reported in the build log",
			Cancels: []string{"-Wno-format", "-Wno-format-security", "-w"}},
	}
}

// strict are options that correct programs exist for which they do not hold.
func strict() []Flag {
	return []Flag{
		{Args: []string{"-fstrict-flex-arrays=3"}, Place: PlaceCompile, GCC: 13, Musl: applies,
			Purpose: "only [] is a flexible array, so that bounds of trailing arrays are known",
			Cancels: []string{"-fstrict-flex-arrays=*", "-fno-strict-flex-arrays"}},
		{Args: []string{"-fzero-init-padding-bits=all"}, Place: PlaceCompile, GCC: 15, Musl: applies,
			Purpose: "padding of initialised objects is zero",
			Cancels: []string{"-fzero-init-padding-bits=*"}},
		{Args: []string{"-Wtrampolines"}, Place: PlaceCompile, Musl: noCode,
			Purpose: "nested functions that need an executable stack are reported",
			Cancels: []string{"-Wno-trampolines", "-w"}},
		{Args: []string{"-Wbidi-chars=any"}, Place: PlaceCompile, GCC: 12, Musl: noCode,
			Purpose: "text that reads differently from how it compiles is reported",
			Cancels: []string{"-Wbidi-chars=*", "-Wno-bidi-chars", "-w"}},
		{Args: []string{"-Werror=format-security"}, Place: PlaceCompile, Musl: noCode,
			Purpose: "a format string that is not a literal fails the build",
			Cancels: []string{"-Wno-error=format-security", "-Wno-error", "-Wno-format-security", "-Wno-format", "-w"}},
	}
}

// analysisLinks makes "unreachable" mean "absent", in every profile.
func analysisLinks() []Flag {
	return []Flag{
		{Args: []string{"-Wl,--gc-sections"}, Place: PlaceLink, Musl: linkTime,
			Purpose: "what no root reaches is not in the file", Cancels: []string{"-Wl,--no-gc-sections"}},
		{Args: []string{"-Wl,--build-id=sha1"}, Place: PlaceLink, Musl: linkTime,
			Purpose: "names the file by its content, for its debug part", Cancels: []string{"-Wl,--build-id*"}},
	}
}

func links() []Flag {
	return append(analysisLinks(),
		Flag{Args: []string{"-Wl,-z,relro"}, Place: PlaceLink, Musl: applies,
			Purpose: "relocated data is read-only after start", Cancels: []string{"-Wl,-z,norelro"}},
		Flag{Args: []string{"-Wl,-z,now"}, Place: PlaceLink, Musl: applies,
			Purpose: "no lazy binding, so that relro covers the whole table", Cancels: []string{"-Wl,-z,lazy"}},
		Flag{Args: []string{"-Wl,-z,noexecstack"}, Place: PlaceLink, Musl: applies,
			Purpose: "the stack is not executable", Cancels: []string{"-Wl,-z,execstack"}},
		Flag{Args: []string{"-Wl,-z,separate-code"}, Place: PlaceLink, Musl: applies,
			Purpose: "code shares no page with data", Cancels: []string{"-Wl,-z,noseparate-code"}},
		Flag{Args: []string{"-Wl,--as-needed"}, Place: PlaceLink, Musl: linkTime,
			Purpose: "no library is needed that nothing calls", Cancels: []string{"-Wl,--no-as-needed"}},
		Flag{Args: []string{"-Wl,--no-copy-dt-needed-entries"}, Place: PlaceLink, Musl: linkTime,
			Purpose: "no symbol is taken from a library that was not asked for", Cancels: []string{"-Wl,--copy-dt-needed-entries"}},
	)
}

func strictLinks() []Flag {
	return []Flag{
		{Args: []string{"-Wl,-z,nodlopen"}, Place: PlaceLink, Purpose: "the object cannot be opened at run time",
			Musl: "no effect: musl's loader does not read it"},
	}
}
