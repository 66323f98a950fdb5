"""The subcommands of `cgdet`: each file adds its arguments and runs; heavy imports happen in `run`."""
