#!/bin/sh
# Compiler wrapper. It stands where the driver stood, so that an absolute path
# finds it too. It adds the action's flags and writes down what is compiled
# and linked: one record for each process, arguments separated by NUL.
real=@REAL@
T=@TRACE@

driver_compile() { "$real" @BEFORE@ "$@" @COMPILE@; }
driver_link() { "$real" @BEFORE@ "$@" @LINK@ -Wl,--build-id=sha1 "-Wl,-Map=$T/$id.map"; }

# takes_value: options whose value is the next argument
takes_value() {
	case $1 in
	-o | -x | -I | -L | -D | -U | -A | -B | -T | -u | -l | -z | -e | -MF | -MT | -MQ | -include | -imacros | -isystem | -idirafter | \
		-iquote | -isysroot | -iprefix | -iwithprefix | -iwithprefixbefore | -Xlinker | -Xassembler | -Xpreprocessor | -aux-info | \
		--param | -wrapper | -dumpbase | -dumpbase-ext | -dumpdir) return 0 ;;
	esac
	return 1
}

is_source() {
	case $1 in
	*.c | *.i | *.S | *.s | *.sx | *.cc | *.cp | *.cxx | *.cpp | *.c++ | *.C | *.ii) return 0 ;;
	esac
	return 1
}

# new_id: process ids come round again, so the name is claimed
new_id() {
	id=$$ n=0
	set -C
	while ! { true >"$T/$id"; } 2>/dev/null; do
		n=$((n + 1))
		id=$$-$n
	done
	set +C
}

# record KIND FILE ARGS...: the last field tells a whole record from a cut one
record() {
	kind=$1 file=$2
	shift 2
	digest=$(@SHA256SUM@ -- "$file") || digest=
	printf '%s\0' "$kind" "$PWD" "$file" "${digest%% *}" "$real" "$@" end >"$T/$id.$kind"
}
record_compile() { record unit "$object" @BEFORE@ "$@" @COMPILE@; }
record_link() { record link "$out" @BEFORE@ "$@" @LINK@ -Wl,--build-id=sha1 "-Wl,-Map=$T/$id.map"; }

# expand OPTION ARGS...: the unit on standard output, as the compiler's parser
# sees it
expand() {
	dump=$1
	shift
	count=$# skip=
	while [ $count -gt 0 ]; do
		a=$1
		shift
		count=$((count - 1))
		if [ -n "$skip" ]; then
			skip=
			continue
		fi
		case $a in
		-c | -MD | -MMD | -MP | -MG | -Wp,-M* | -save-temps*) continue ;;
		-o | -MF | -MT | -MQ)
			skip=1
			continue
			;;
		-o* | -MF* | -MT* | -MQ*) continue ;;
		esac
		set -- "$@" "$a"
	done
	driver_compile "$@" -w -E $dump -o -
}
preprocess() {
	if [ -n "$excised" ]; then
		expand -dD "$@" | EXCISED= @EXCISE@ | @GZIP@ -1n >"$T/$id.i.gz"
	else
		expand -dD "$@" | @GZIP@ -1n >"$T/$id.i.gz"
	fi
}

# excise ARGS...: compiles the unit again without the functions to be excised,
# where it mentions any. The first time was for its dependency file.
excise() {
	expand "" "$@" >"$T/$id.whole.i" || return
	status=0
	EXCISED="$T/$id.excised" @EXCISE@ <"$T/$id.whole.i" >"$T/$id.cut.i" || status=$?
	case $status in
	0) ;;
	3) return 0 ;;
	*) return $status ;;
	esac
	excised=1
	count=$#
	while [ $count -gt 0 ]; do
		a=$1
		shift
		count=$((count - 1))
		if [ "$a" = "$last" ]; then
			set -- "$@" -x cpp-output "$T/$id.cut.i" -x none
		else
			set -- "$@" "$a"
		fi
	done
	driver_compile "$@" -o "$object"
}

# compile_one SOURCE OBJECT ARGS...: one source out of a longer command line
compile_one() {
	source=$1 object=$2
	shift 2
	count=$# skip= keep=
	while [ $count -gt 0 ]; do
		a=$1
		shift
		count=$((count - 1))
		if [ -n "$skip" ]; then
			skip=
			continue
		elif [ -n "$keep" ]; then
			keep=
			set -- "$@" "$a"
			continue
		fi
		case $a in
		-o | -l | -L | -T | -u | -z | -e | -Xlinker)
			skip=1
			continue
			;;
		-c | -o* | -l* | -L* | -Wl,* | -shared | -static | -static-pie | -pie | -no-pie | -rdynamic | -s) continue ;;
		-*) if takes_value "$a"; then keep=1; fi ;;
		*) continue ;;
		esac
		set -- "$@" "$a"
	done
	"$0" "$@" -c "$source" -o "$object"
}

mode=link probe= sources=0 inputs=0 out= value= shared= standard=
for a do
	case $value in
	'') ;;
	-o) out=$a value= && continue ;;
	*) value= && continue ;;
	esac
	case $a in
	-c) [ $mode = other ] || mode=compile ;;
	-S | -E | -M | -MM | -fsyntax-only) mode=other ;;
	-shared) shared=1 ;;
	-r | -Wl,-r | -Wl,--relocatable) shared=relocatable ;;
	-) inputs=$((inputs + 1)) standard=1 ;;
	-*)
		if takes_value "$a"; then
			value=$a
		else
			case $a in -o*) out=${a#-o} ;; esac
		fi
		;;
	*)
		inputs=$((inputs + 1))
		if is_source "$a"; then
			sources=$((sources + 1))
			last=$a
		fi
		case ${a##*/} in conftest | conftest.*) probe=1 ;; esac
		;;
	esac
done
case ${out##*/} in conftest*) probe=1 ;; esac
case $PWD in */CMakeFiles/CMakeTmp* | */CMakeFiles/CMakeScratch*) probe=1 ;; esac

# A question to the driver, preprocessing only, a relocatable link, a probe of
# a configure script: flags, and no record.
[ $inputs -gt 0 ] || exec "$real" "$@"
[ $mode != other ] || { driver_compile "$@"; exit; }
if [ $mode = link ] && [ "$shared" = relocatable ]; then
	driver_compile "$@"
	exit
fi
if [ -n "$probe$standard" ]; then
	[ $mode = link ] || { driver_compile "$@"; exit; }
	exec "$real" @BEFORE@ "$@" @COMPILE@ @LINK@
fi

if [ $mode = compile ] && [ $sources -gt 1 ]; then
	for s do
		case $s in -*) continue ;; esac
		if is_source "$s"; then
			o=${s##*/}
			compile_one "$s" "${o%.*}.o" "$@" || exit
		fi
	done
	exit 0
fi

# No source by its name (-x assembler /dev/null asks for a version): no record,
# and a link of the result fails as unexplained.
if [ $mode = compile ] && [ $sources -eq 0 ]; then
	driver_compile "$@"
	exit
fi

new_id
excised=

if [ $mode = compile ]; then
	object=$out
	if [ -z "$object" ]; then
		object=${last##*/}
		object=${object%.*}.o
	fi
	driver_compile "$@" || exit
	case $object in /dev/null) exit 0 ;; esac
	case @EXCISING@$last in yes*.c)
		excise "$@" || exit
		rm -f "$T/$id.whole.i" "$T/$id.cut.i"
		;;
	esac
	record_compile "$@"
	case @PREPROCESS@$last in yes*.c) preprocess "$@" ;; esac
	exit 0
fi

# A link: sources among its inputs are compiled on their own first.
k=0 value=
[ $sources -gt 0 ] && for s do
	case $value in ?*) value= && continue ;; esac
	case $s in -*)
		if takes_value "$s"; then value=1; fi
		continue
		;;
	esac
	if is_source "$s"; then
		k=$((k + 1))
		compile_one "$s" "$T/$id.$k.o" "$@" || exit
	fi
done
count=$# k=0 value=
while [ $sources -gt 0 ] && [ $count -gt 0 ]; do
	a=$1
	shift
	count=$((count - 1))
	case $value in
	?*) value= ;;
	*) case $a in
		-*) if takes_value "$a"; then value=1; fi ;;
		*) if is_source "$a"; then
			k=$((k + 1))
			a=$T/$id.$k.o
		fi ;;
		esac ;;
	esac
	set -- "$@" "$a"
done
driver_link "$@" || exit
out=${out:-a.out}
case $out in /dev/null) exit 0 ;; esac
record_link "$@"
@CP@ -- "$out" "$T/$id.elf"
