// Command switchboard is a realtime layer between AI agents and the people who use them,
// and the tools to talk to one from a terminal.
//
// Usage: switchboard <command>; "switchboard --help" lists them. Exit codes are 0, 1 for
// a failure and 2 for a command line or a configuration that cannot work. Errors are one line
// on stderr, for a configuration one for each problem.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/alecthomas/kong"

	"github.com/netra-systems/switchboard/internal/config"
)

// The exit codes.
const (
	exitOK      = 0
	exitFailure = 1
	exitUsage   = 2
)

// commands is the command line.
type commands struct {
	Dev     devCmd     `cmd:"" help:"Run a server on this machine, in memory, that lets everybody here in."`
	Serve   serveCmd   `cmd:"" help:"Run a server."`
	Check   checkCmd   `cmd:"" help:"Check the configuration of a server and print it."`
	Audit   auditCmd   `cmd:"" help:"Check an audit log."`
	Token   tokenCmd   `cmd:"" help:"Print a token with which a user can connect."`
	Send    sendCmd    `cmd:"" help:"Send one message, as the application or as a user."`
	Tail    tailCmd    `cmd:"" help:"Connect as a user and print each message as a line of JSON."`
	Bench   benchCmd   `cmd:"" help:"Prove a promise on this machine, with numbers."`
	Version versionCmd `cmd:"" help:"Print the version."`
}

// terminal is what a command reads and writes.
type terminal struct {
	in       io.Reader
	out, err io.Writer
}

// usageError says that the command line cannot work.
type usageError struct{ error }

func usage(format string, args ...any) error { return usageError{fmt.Errorf(format, args...)} }

func main() {
	// A reader that has gone away must end a command, not kill it: it still has a
	// connection to close.
	signal.Ignore(syscall.SIGPIPE)
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second ctrl-C does not wait
	code := run(ctx, os.Args[1:], terminal{in: os.Stdin, out: os.Stdout, err: os.Stderr})
	stop()
	os.Exit(code)
}

// run carries out one command line. --help ends the process by itself.
func run(ctx context.Context, args []string, term terminal) int {
	parser, err := kong.New(new(commands),
		kong.Name("switchboard"),
		kong.Description("The realtime layer between AI agents and the people who use them."),
		kong.Writers(term.out, term.err),
		kong.ConfigureHelp(kong.HelpOptions{Compact: true}),
		kong.ValueFormatter(withDefault),
		kong.BindTo(ctx, (*context.Context)(nil)),
		kong.Bind(term),
	)
	if err != nil {
		return fail(term.err, err)
	}
	command, err := parser.Parse(args)
	if err != nil {
		return fail(term.err, usageError{err})
	}
	return fail(term.err, command.Run())
}

// withDefault adds to a flag's help what it is without the flag.
func withDefault(v *kong.Value) string {
	help := kong.DefaultHelpValueFormatter(v)
	if !v.HasDefault || strings.Contains(help, "("+v.Default+")") {
		return help
	}
	return help + " Default: " + v.Default + "."
}

// fail tells what went wrong and returns the exit code.
func fail(w io.Writer, err error) int {
	if err == nil {
		return exitOK
	}
	if problems, ok := errors.AsType[config.Problems](err); ok {
		for _, p := range problems {
			fmt.Fprintf(w, "switchboard: %s\n", strings.ReplaceAll(p, "\n", "; "))
		}
		return exitUsage
	}
	fmt.Fprintf(w, "switchboard: %s\n", strings.ReplaceAll(err.Error(), "\n", "; "))
	if _, ok := errors.AsType[usageError](err); ok {
		return exitUsage
	}
	return exitFailure
}
