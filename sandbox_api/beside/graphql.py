"""What a GraphQL question of MLflow's pages is about. One that could be about anything else is refused."""

from typing import Any

from graphql import (
    ArgumentNode,
    FragmentDefinitionNode,
    GraphQLSyntaxError,
    OperationDefinitionNode,
    OperationType,
    VariableNode,
    Visitor,
    parse,
    visit,
)
from graphql.language import FieldNode

from livinglab.domain.errors import Invalid

_ABOUT = {"mlflowGetExperiment": "experimentId", "mlflowGetRun": "runId"}
"""Field → the one thing that its input says."""
_TOKENS = 2_000


class _Arguments(Visitor):
    def __init__(self) -> None:
        super().__init__()
        self.found = 0

    def enter_argument(self, _node: ArgumentNode, *_: Any) -> None:
        self.found += 1


def asked_for(document: dict[str, Any]) -> tuple[list[str], list[str]]:
    """The experiments and the runs that a question is about, by id.

    Raises:
        Invalid: it is not one query whose fields each take one variable, and nothing below them an argument.
    """
    query, variables = document.get("query"), document.get("variables")
    if not isinstance(query, str) or not isinstance(variables, dict):
        raise _refused()
    try:
        definitions = parse(query, no_location=True, max_tokens=_TOKENS).definitions
    except GraphQLSyntaxError as error:
        raise _refused() from error
    ids: dict[str, list[str]] = {"experimentId": [], "runId": []}
    operations = [d for d in definitions if isinstance(d, OperationDefinitionNode)]
    counter = _Arguments()
    for definition in definitions:
        if not isinstance(definition, OperationDefinitionNode | FragmentDefinitionNode):
            raise _refused()
        visit(definition.selection_set, counter)  # what its pages say of themselves, in front of it, asks for nothing
    if (
        len(operations) != 1
        or operations[0].operation is not OperationType.QUERY
        or any(v.default_value for v in operations[0].variable_definitions or ())
    ):
        raise _refused()
    fields = operations[0].selection_set.selections
    if counter.found != len(fields):
        raise _refused()
    for field in fields:
        name, id_ = _input(field, variables)
        ids[name].append(id_)
    return ids["experimentId"], ids["runId"]


def _input(field: object, variables: dict[str, Any]) -> tuple[str, str]:
    if not isinstance(field, FieldNode) or field.name.value not in _ABOUT or field.arguments is None or len(field.arguments) != 1:
        raise _refused()
    value = field.arguments[0].value
    name = _ABOUT[field.name.value]
    given = variables.get(value.name.value) if isinstance(value, VariableNode) else None
    if not isinstance(given, dict) or list(given) != [name] or not isinstance(given[name], str):
        raise _refused()
    return name, given[name]


def _refused() -> Invalid:
    return Invalid("this door takes only what MLflow's own pages ask for.", where="query")
