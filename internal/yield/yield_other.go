//go:build !unix

package yield

// wakeup is nothing here.
type wakeup struct{}

func (*wakeup) open()      {}
func (*wakeup) wait() bool { return false }
func (*wakeup) close()     {}
