"""Stands in for rules_python where no registry can be reached (tools/bazel_check.sh).

A target hands its files on to the targets that depend on it. A program runs with these files alone
on its path, so that a missing dependency is a module that cannot be imported. The environment
variable PYTHON names the interpreter, whose own packages stand in for @pypi.
"""

_LIBRARY = {
    "data": attr.label_list(allow_files = True),
    "deps": attr.label_list(),
    "imports": attr.string_list(),
    "srcs": attr.label_list(allow_files = [".py"]),
}
_PROGRAM = dict(_LIBRARY, main = attr.label(allow_single_file = [".py"]))

_SCRIPT = """#!/bin/sh
cd "${TEST_SRCDIR:-$0.runfiles}/%s" && PYTHONPATH=$PWD exec "$PYTHON" %s "$@"
"""

def _runfiles(ctx):
    runfiles = ctx.runfiles(ctx.files.srcs + ctx.files.data)
    for dependency in ctx.attr.deps:
        runfiles = runfiles.merge(dependency[DefaultInfo].default_runfiles)
    return runfiles

def _library(ctx):
    return DefaultInfo(files = depset(ctx.files.srcs), runfiles = _runfiles(ctx))

def _program(ctx):
    script = ctx.actions.declare_file(ctx.label.name)
    main = ctx.file.main or ctx.files.srcs[0]
    text = _SCRIPT % (ctx.workspace_name, main.short_path)
    ctx.actions.write(script, text, is_executable = True)
    return DefaultInfo(executable = script, runfiles = _runfiles(ctx))

py_library = rule(_library, attrs = _LIBRARY)
py_binary = rule(_program, attrs = _PROGRAM, executable = True)
py_test = rule(_program, attrs = _PROGRAM, test = True)
