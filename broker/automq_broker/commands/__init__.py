"""The subcommands of `automq`, one module each; they use rooms through assembly or read files and buckets directly."""
