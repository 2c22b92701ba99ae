//go:build !(linux && amd64)

package trace

import (
	"fmt"
	"runtime"
	"syscall"
)

// Run is not available on this platform.
func Run(*Plan, []string, []string, string, []uintptr, *syscall.SysProcAttr) (*Result, error) {
	return nil, fmt.Errorf("trace: breakpoints are implemented for linux/amd64, not for %s/%s", runtime.GOOS, runtime.GOARCH)
}
