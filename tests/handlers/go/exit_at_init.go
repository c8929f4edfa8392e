package main

import "os"

func init() { os.Exit(5) }

func Handler() {}
