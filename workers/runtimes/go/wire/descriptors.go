package wire

// Descriptors that the runner hands over to a handler's process, besides stdout and stderr.
const (
	LinkFD    = 3 + iota // the connection to the driver
	OutFD                // the read end of the process's own stdout
	ErrFD                // and stderr
	CrashFD              // what Go's runtime prints when the process dies
	PageFD               // a Page
	HeadFD               // the LOAD frame's header
	FirstFree            // and on: the user's
)
