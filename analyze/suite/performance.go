package suite

import (
	"archive/tar"
	"context"
	"fmt"
	"time"

	"github.com/cleanstart/cleanstart/compile"
)

var performanceTests = []Test{
	{
		ID: "performance/size", Family: Performance, Run: imageSize,
		Title:   "The image is small",
		Asserts: "all layers together, compressed, are within Bounds.Size",
		Why:     "size is what every pull costs, and what grows unseen",
	},
	{
		ID: "performance/files", Family: Performance, Run: fileCount,
		Title:   "The image holds few files",
		Asserts: "files and links together are within Bounds.Files",
		Why:     "every file is something to unpack, to scan and to explain",
	},
	{
		ID: "performance/layers", Family: Performance, Run: layerCount,
		Title:   "The image has few layers",
		Asserts: "the number of layers is within Bounds.Layers, and none is empty",
		Why:     "every layer is a request and a mount, and engines refuse more than 127",
	},
	{
		ID: "performance/no-duplicates", Family: Performance, Run: noDuplicates,
		Title:   "No content is shipped twice",
		Asserts: "no two files of 4 KiB or more are equal",
		Why:     "a copy is size without use, and a place where a fix is forgotten",
	},
	{
		ID: "performance/start-up", Family: Performance, Run: startUp, Alone: true,
		Title:   "The first check ends quickly",
		Asserts: "the fastest of three runs of the first check, from start to end, is within Bounds.Start",
		Why:     "start-up time is what scaling from zero waits for",
	},
	{
		ID: "performance/memory", Family: Performance, Run: memory, Alone: true,
		Title:   "Checks need little memory",
		Asserts: "the largest process of each check stays within Bounds.Memory",
		Why:     "memory is what decides how many fit on a machine",
		Refs:    []string{"CIS Docker 5.11"},
	},
}

func imageSize(_ context.Context, s *Subject) Outcome {
	var n int64
	for _, l := range s.Layers {
		n += l.Size
	}
	if n == 0 {
		return notApplicable("the image has no layer")
	}
	if n > s.Bounds.Size {
		return verdict([]string{fmt.Sprintf("%d bytes, at most %d are allowed", n, s.Bounds.Size)}, "")
	}
	return verdict(nil, "%d bytes of at most %d", n, s.Bounds.Size)
}

func fileCount(_ context.Context, s *Subject) Outcome {
	n := 0
	for _, e := range s.Files {
		if e.Type != tar.TypeDir {
			n++
		}
	}
	if n == 0 {
		return notApplicable("the image holds no file")
	}
	if n > s.Bounds.Files {
		return verdict([]string{fmt.Sprintf("%d files, at most %d are allowed", n, s.Bounds.Files)}, "")
	}
	return verdict(nil, "%d files of at most %d", n, s.Bounds.Files)
}

func layerCount(_ context.Context, s *Subject) Outcome {
	var wrong []string
	if n := len(s.Layers); n > s.Bounds.Layers {
		wrong = append(wrong, fmt.Sprintf("%d layers, at most %d are allowed", n, s.Bounds.Layers))
	}
	for i, l := range s.Layers {
		if len(l.Entries) == 0 {
			wrong = append(wrong, fmt.Sprintf("layer %d is empty", i))
		}
	}
	if len(s.Layers) == 0 {
		return notApplicable("the image has no layer")
	}
	return verdict(wrong, "%d layers of at most %d", len(s.Layers), s.Bounds.Layers)
}

func noDuplicates(_ context.Context, s *Subject) Outcome {
	first := map[string]string{}
	var wrong []string
	for _, l := range s.Layers {
		for _, e := range l.Entries {
			if e.Type != tar.TypeReg || e.Size < 4096 {
				continue
			}
			name := clean(e.Path)
			if other, ok := first[e.Digest]; ok && other != name {
				wrong = append(wrong, fmt.Sprintf("%s equals %s (%d bytes)", name, other, e.Size))
				continue
			}
			first[e.Digest] = name
		}
	}
	return verdict(wrong, "%d files of 4 KiB or more", len(first))
}

func startUp(ctx context.Context, s *Subject) Outcome {
	checks := s.Spec.Checks
	if len(checks) == 0 {
		return notApplicable("the specification declares no check")
	}
	best := time.Duration(-1)
	for range 3 {
		got, err := s.start(ctx, checks[0], variant{})
		if err != nil {
			return verdict([]string{fmt.Sprintf("%s: %v", checks[0].Name, err)}, "")
		}
		if why := wrongWith(checks[0], got); why != "" {
			return verdict([]string{why}, "")
		}
		if d := time.Duration(got.Usage.Wall); best < 0 || d < best {
			best = d
		}
	}
	switch {
	case best <= 0:
		return verdict([]string{checks[0].Name + ": no time was measured"}, "")
	case best > s.Bounds.Start:
		return verdict([]string{fmt.Sprintf("%s: took %s, at most %s are allowed", checks[0].Name, best, s.Bounds.Start)}, "")
	}
	return verdict(nil, "%s of at most %s", best.Round(time.Millisecond), s.Bounds.Start)
}

func memory(ctx context.Context, s *Subject) Outcome {
	return eachCheck(ctx, s, variant{}, func(_ compile.Run, got *ran) string {
		// The kernel may count the few pages of a tiny process as none.
		switch n := got.Usage.MaxRSS; {
		case n < 0 || got.Usage.Wall <= 0:
			return "nothing was measured"
		case n > s.Bounds.Memory:
			return fmt.Sprintf("needed %d bytes, at most %d are allowed", n, s.Bounds.Memory)
		}
		return ""
	})
}
