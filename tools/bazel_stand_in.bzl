"""Stands in for rules_python where the network is out of reach (tools/bazel_check.sh).

A target hands its sources on to what depends on it; a program runs with them alone on its path,
so that a dependency missing from BUILD is a module that cannot be imported. The environment
variable PYTHON names the interpreter, whose own packages stand in for @pypi.
"""

_LIBRARY = {
    "data": attr.label_list(allow_files = True),
    "deps": attr.label_list(),
    "srcs": attr.label_list(allow_files = [".py"]),
}
_PROGRAM = dict(_LIBRARY, main = attr.label(allow_single_file = [".py"], mandatory = True))

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
    text = _SCRIPT % (ctx.workspace_name, ctx.file.main.short_path)
    ctx.actions.write(script, text, is_executable = True)
    return DefaultInfo(executable = script, runfiles = _runfiles(ctx))

py_library = rule(_library, attrs = _LIBRARY)
py_binary = rule(_program, attrs = _PROGRAM, executable = True)
py_test = rule(_program, attrs = _PROGRAM, test = True)
