package main

import (
	"errors"
	"go/ast"
	"go/build"
	"go/parser"
	"go/scanner"
	"go/token"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

const (
	formHandler   = "handler"
	formProgram   = "program"
	handlerName   = "Handler"
	defaultModule = "function"
	entryName     = "nimbus_main"
	// The ABI of package nimbus/wire, which is compiled into the program; a test holds the two together.
	abi = 1
)

// plan is what is to be compiled.
type plan struct {
	form    string
	module  string // the path of the user's module
	target  string // the package to build, as a path for the go command
	pkg     string // the user's package's name
	handler string // of formHandler: the function's name
	vendor  bool
}

// inspect reads the sources' top folder: which form they have, and whether it is one.
func inspect(folder, handler string) (*plan, error) {
	files, err := parseFolder(folder)
	if err != nil {
		return nil, err
	}
	made := &plan{form: formProgram, target: ".", pkg: files[0].tree.Name.Name, module: moduleOf(folder)}
	_, err = os.Stat(filepath.Join(folder, "vendor", "modules.txt"))
	made.vendor = err == nil
	functions := map[string]*ast.FuncDecl{}
	var names []string
	for _, file := range files {
		if name := file.tree.Name.Name; name != made.pkg {
			return nil, userErrorf("%s:1: the package is %s here and %s in %s; one folder holds one package.",
				file.name, name, made.pkg, files[0].name)
		}
		for _, found := range file.tree.Decls {
			if function, ok := found.(*ast.FuncDecl); ok && function.Recv == nil {
				functions[function.Name.Name] = function
				names = append(names, function.Name.Name)
			}
		}
	}
	if functions["main"] != nil && made.pkg == "main" {
		return made, nil
	}
	return made, made.asHandler(functions, names, handler)
}

// asHandler makes it the plan of a handler: the function that the configuration names, else Handler.
func (p *plan) asHandler(functions map[string]*ast.FuncDecl, names []string, configured string) error {
	p.form, p.handler = formHandler, handlerName
	if named := configured[strings.LastIndexByte(configured, '.')+1:]; ast.IsExported(named) {
		p.handler = named
	}
	function := functions[p.handler]
	if function == nil {
		slices.Sort(names)
		there := "It has no functions."
		if len(names) > 0 {
			there = "It has: " + strings.Join(names[:min(len(names), 20)], ", ") + "."
		}
		return userErrorf("The package %s has neither func main (of package main) nor func %s. %s", p.pkg, p.handler, there)
	}
	if problem := problemOf(function.Type); problem != "" {
		place := positions.Position(function.Pos())
		return userErrorf("%s:%d:%d: func %s %s; write func %s(event T) (R, error), with a context.Context first if "+
			"you like. event, R and error may be left out.",
			filepath.Base(place.Filename), place.Line, place.Column, p.handler, problem, p.handler)
	}
	if p.pkg != "main" {
		p.target = "./" + entryName
	}
	return nil
}

// problemOf looks at a signature as far as it can be told without types; the shim knows the rest.
func problemOf(kind *ast.FuncType) string {
	switch params, results := kind.Params.NumFields(), kind.Results.NumFields(); {
	case kind.TypeParams.NumFields() > 0:
		return "has type parameters"
	case params > 2:
		return "has more than two parameters"
	case results > 2:
		return "has more than two results"
	case params == 2 && !mayBeContext(kind.Params.List[0].Type):
		return "has two parameters, but the first is no context.Context"
	case results == 2 && !isNamed(kind.Results.List[len(kind.Results.List)-1].Type, "error"):
		return "has two results, but the second is no error"
	}
	for _, param := range kind.Params.List {
		if _, ok := param.Type.(*ast.Ellipsis); ok {
			return "takes a variable number of arguments"
		}
	}
	return ""
}

func mayBeContext(kind ast.Expr) bool {
	if selected, ok := kind.(*ast.SelectorExpr); ok {
		return selected.Sel.Name == "Context"
	}
	name, ok := kind.(*ast.Ident)
	return ok && ast.IsExported(name.Name) // an alias, perhaps
}

func isNamed(kind ast.Expr, name string) bool {
	found, ok := kind.(*ast.Ident)
	return ok && found.Name == name
}

var positions = token.NewFileSet()

type source struct {
	name string
	tree *ast.File
}

// parseFolder reads the Go files that would be compiled, in the order of their names.
func parseFolder(folder string) ([]source, error) {
	entries, err := os.ReadDir(folder)
	if err != nil {
		return nil, err
	}
	context := build.Default
	context.GOOS, context.CgoEnabled = "linux", false
	var files []source
	for _, entry := range entries {
		name := entry.Name()
		if entry.IsDir() || !strings.HasSuffix(name, ".go") || strings.HasSuffix(name, "_test.go") {
			continue
		}
		if ok, err := context.MatchFile(folder, name); err == nil && !ok {
			continue
		}
		tree, err := parser.ParseFile(positions, filepath.Join(folder, name), nil, parser.SkipObjectResolution)
		if err != nil {
			return nil, syntaxError(err)
		}
		for _, imported := range tree.Imports {
			if imported.Path.Value == `"C"` {
				place := positions.Position(imported.Pos())
				return nil, userErrorf("%s:%d:%d: C code can't be part of a Go function (cgo is off).",
					name, place.Line, place.Column)
			}
		}
		files = append(files, source{name, tree})
	}
	if len(files) == 0 {
		return nil, userErrorf("There is no Go file for Linux in the top folder of the sources.")
	}
	return files, nil
}

// syntaxError shows the parser's errors with the user's names of files.
func syntaxError(err error) error {
	var list scanner.ErrorList
	if !errors.As(err, &list) {
		return userErrorf("%s", err)
	}
	lines := make([]string, 0, len(list))
	for _, one := range list[:min(len(list), 10)] {
		one.Pos.Filename = filepath.Base(one.Pos.Filename)
		lines = append(lines, one.Error())
	}
	return userErrorf("%s", strings.Join(lines, "\n"))
}
