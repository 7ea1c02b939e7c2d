"""What every package uses: command lines, servers, files, text of unknown origin."""
