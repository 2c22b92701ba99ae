module github.com/cleanstart/cleanstart

go 1.26
