package main

import (
	"context"
	"log/slog"
	"os"

	"github.com/alecthomas/kong"

	"github.com/netra-systems/switchboard/internal/config"
	"github.com/netra-systems/switchboard/internal/server"
)

// configFlags are the flags of what runs, or checks, a server.
type configFlags struct {
	File          string `name:"config" env:"SWITCHBOARD_CONFIG" placeholder:"FILE" help:"A YAML file with settings. Its keys are the names of the flags."`
	config.Config `embed:""`
}

const configHelp = "Each setting is a key of the file, a variable (SWITCHBOARD_ and the flag in upper case, with _ for -) and a flag. " +
	"The file counts least, flags count most. What is not known, or cannot work, is an error."

// load reads what flags, environment and file say.
func (f *configFlags) load(given *kong.Context) (*config.Loaded, error) {
	src := config.Sources{File: f.File, Environ: os.Environ(), Flags: map[string]any{}}
	for _, p := range given.Path {
		if p.Flag != nil {
			src.Flags[p.Flag.Name] = p.Flag.Target.Interface()
		}
	}
	return config.Load(src)
}

type serveCmd struct {
	configFlags `embed:""`
}

// Help says where settings are from.
func (*serveCmd) Help() string { return configHelp }

// Run serves until ctx ends.
func (c *serveCmd) Run(ctx context.Context, given *kong.Context, term terminal) error {
	loaded, err := c.load(given)
	if err != nil {
		return err
	}
	log := loaded.Logger(term.err)
	cfg, err := loaded.Server(ctx, log)
	if err != nil {
		return unlessDone(ctx, err)
	}
	cfg.Version, cfg.Report = thisBuild().version, term.out
	s, err := server.New(cfg)
	if err != nil {
		return err
	}
	log.LogAttrs(ctx, slog.LevelInfo, "history is in memory: it ends with this process", slog.String("environment", loaded.Environment))
	if len(cfg.APIKeys) == 0 {
		log.LogAttrs(ctx, slog.LevelInfo, "there is no API key: back ends cannot call")
	}
	defer server.CollectSeldom()()
	return s.Run(ctx)
}

type checkCmd struct {
	configFlags `embed:""`
}

// Help says what is not checked.
func (*checkCmd) Help() string {
	return configHelp + " Nothing is started and nobody is connected to: whether jwks answers shows when the server starts."
}

// Run prints what a server would be told.
func (c *checkCmd) Run(given *kong.Context, term terminal) error {
	loaded, err := c.load(given)
	if err != nil {
		return err
	}
	text, err := loaded.YAML()
	if err != nil {
		return err
	}
	_, err = term.out.Write(text)
	return err
}
