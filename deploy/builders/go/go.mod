module nimbus-builder

go 1.24
