module nimbus

go 1.24
