"""What is wrong with a state, and where: one case for each rule of the specification and each limit of ours."""

from __future__ import annotations

from typing import Any

import pytest

from tests.unit.workflows.definitions import END, INVOKE, PASS, TASK, problems_with


def rule(**fields: Any) -> list[dict[str, Any]]:
    return [{"Type": "Choice", "Choices": [{"Next": "B", **fields}]}, END]


def task(**fields: Any) -> list[dict[str, Any]]:
    return [{**TASK, **fields}]


def each(**fields: Any) -> list[dict[str, Any]]:
    processor = {"StartAt": "X", "States": {"X": END}}
    return [{"Type": "Map", "ItemProcessor": processor, "End": True, **fields}]


def retry(**fields: Any) -> list[dict[str, Any]]:
    return task(Retry=[{"ErrorEquals": ["E"], **fields}])


@pytest.mark.parametrize(
    ("states", "path", "message"),
    [
        # Types and fields.
        ([{"End": True}], "States.A.Type", "one of Task, Pass"),
        ([{"Type": "Lambda", "End": True}], "States.A.Type", "'Lambda'"),
        ([{"Type": ["Task"]}], "States.A.Type", "one of Task"),
        (["Task"], "States.A", "object"),
        (task(Resouce="x"), "States.A.Resouce", "is 'Resource' meant?"),
        (task(Choices=[]), "States.A.Choices", "no field of a Task state"),
        ([{**END, "Next": "A"}], "States.A.Next", "no field of a Succeed state"),
        ([{"Type": "Pass", "Retry": [], "End": True}], "States.A.Retry", "no field of a Pass state"),
        ([{**PASS, "ResultSelector": {}}], "States.A.ResultSelector", "no field"),
        ([{"Type": "Fail", "InputPath": "$"}], "States.A.InputPath", "no field of a Fail state"),
        (task(Comment=5), "States.A.Comment", "string"),
        # What Nimbus does not have.
        (task(QueryLanguage="JSONata"), "States.A.QueryLanguage", "JSONPath"),
        (task(HeartbeatSeconds=5), "States.A.HeartbeatSeconds", "not supported"),
        (task(HeartbeatSecondsPath="$.a"), "States.A.HeartbeatSecondsPath", "not supported"),
        (task(Assign={}), "States.A.Assign", "not supported"),
        (task(Arguments={}), "States.A.Arguments", "JSONata"),
        (task(Credentials={}), "States.A.Credentials", "not supported"),
        (each(ItemReader={}), "States.A.ItemReader", "not supported"),
        (each(ItemBatcher={}), "States.A.ItemBatcher", "not supported"),
        (each(ResultWriter={}), "States.A.ResultWriter", "not supported"),
        (each(ToleratedFailureCountPath="$.a"), "States.A.ToleratedFailureCountPath", "not supported"),
        # Where it goes.
        ([{"Type": "Pass"}], "States.A", "Next"),
        ([{"Type": "Pass", "End": False}], "States.A", "Next"),
        ([{**PASS, "Next": "A"}], "States.A.Next", "together with End"),
        ([{"Type": "Pass", "End": "true"}], "States.A.End", "true or false"),
        ([{"Type": "Pass", "Next": "Z"}], "States.A.Next", "'Z'"),
        ([{"Type": "Pass", "Next": ""}], "States.A.Next", "name a state"),
        ([{"Type": "Pass", "Next": 5}], "States.A.Next", "string"),
        (task(Catch=[{"ErrorEquals": ["E"], "Next": "Z"}]), "States.A.Catch[0].Next", "'Z'"),
        ([rule(Variable="$", IsNull=True)[0] | {"Default": "Z"}, END], "States.A.Default", "'Z'"),
        (rule(Variable="$", IsNull=True, Next="Z"), "States.A.Choices[0].Next", "'Z'"),
        ([PASS, PASS], "States.B", "never reached"),
        ([{"Type": "Pass", "Next": "B"}, {"Type": "Pass", "Next": "A"}], "", "never ends"),
        # Paths and templates.
        (task(InputPath="order"), "States.A.InputPath", "begins with $"),
        (task(InputPath=5), "States.A.InputPath", "string"),
        (task(OutputPath="$.a["), "States.A.OutputPath", "not a path"),
        (task(ResultPath="$.a[*]"), "States.A.ResultPath", "Reference Path"),
        (task(ResultPath="$$.a"), "States.A.ResultPath", "context"),
        (each(ItemsPath="$..a"), "States.A.ItemsPath", "Reference Path"),
        (task(Parameters={"a": [{"b.$": "c"}]}), "States.A.Parameters.a[0].b.$", "States.Format"),
        (task(Parameters={"a.$": 5}), "States.A.Parameters.a.$", "string"),
        (task(Parameters={"a.$": "$.b", "a": 1}), "States.A.Parameters.a.$", "twice"),
        (task(Parameters={"a.$": "States.UUID(1)"}), "States.A.Parameters.a.$", "0 arguments"),
        (task(Parameters=[1]), "States.A.Parameters", "object"),
        (task(ResultSelector="$.a"), "States.A.ResultSelector", "object"),
        (each(ItemSelector=5), "States.A.ItemSelector", "object"),
        (each(ItemSelector={}, Parameters={}), "States.A.Parameters", "together with ItemSelector"),
        # Task.
        ([{"Type": "Task", "End": True}], "States.A.Resource", "has to be there"),
        (task(Resource=5), "States.A.Resource", "string"),
        (task(Resource=""), "States.A.Resource", "no function"),
        (task(Resource="a b"), "States.A.Resource", "no function"),
        (task(Resource="a:b:c"), "States.A.Resource", "no function"),
        (task(Resource="arn:aws:states:::sqs:sendMessage"), "States.A.Resource", "not supported"),
        (task(Resource=INVOKE + ".waitForTaskToken"), "States.A.Resource", "not supported"),
        (task(Resource="arn:aws:states:us-east-1:123456789012:activity:x"), "States.A.Resource", "not supported"),
        (task(Resource=INVOKE), "States.A.Parameters", "FunctionName"),
        (task(Resource=INVOKE, Parameters={}), "States.A.Parameters.FunctionName", "has to be there"),
        (task(Resource=INVOKE, Parameters={"FunctionName": "a b"}), "States.A.Parameters.FunctionName", "no function"),
        (task(Resource=INVOKE, Parameters={"FunctionName": "a", "B": 1}), "States.A.Parameters.B", "no parameter"),
        (task(TimeoutSeconds=0), "States.A.TimeoutSeconds", "from 1"),
        (task(TimeoutSeconds=True), "States.A.TimeoutSeconds", "integer"),
        (task(TimeoutSeconds=1.5), "States.A.TimeoutSeconds", "integer"),
        (task(TimeoutSeconds="5"), "States.A.TimeoutSeconds", "integer"),
        (task(TimeoutSeconds=5, TimeoutSecondsPath="$.a"), "States.A.TimeoutSecondsPath", "together with"),
        (task(TimeoutSecondsPath="$..a"), "States.A.TimeoutSecondsPath", "Reference Path"),
        # Retry and Catch.
        (task(Retry={}), "States.A.Retry", "array"),
        (task(Retry=["E"]), "States.A.Retry[0]", "object"),
        (task(Retry=[{}]), "States.A.Retry[0].ErrorEquals", "has to be there"),
        (retry(ErrorEquals=[]), "States.A.Retry[0].ErrorEquals", "empty"),
        (retry(ErrorEquals="E"), "States.A.Retry[0].ErrorEquals", "array"),
        (retry(ErrorEquals=[5]), "States.A.Retry[0].ErrorEquals", "names"),
        (retry(ErrorEquals=["States.ALL", "E"]), "States.A.Retry[0].ErrorEquals", "alone"),
        (retry(IntervalSeconds=0), "States.A.Retry[0].IntervalSeconds", "from 1"),
        (retry(IntervalSeconds=1.5), "States.A.Retry[0].IntervalSeconds", "integer"),
        (retry(MaxAttempts=-1), "States.A.Retry[0].MaxAttempts", "from 0"),
        (retry(MaxAttempts=True), "States.A.Retry[0].MaxAttempts", "integer"),
        (retry(BackoffRate=0.9), "States.A.Retry[0].BackoffRate", "from 1"),
        (retry(BackoffRate=True), "States.A.Retry[0].BackoffRate", "number"),
        (retry(MaxDelaySeconds=0), "States.A.Retry[0].MaxDelaySeconds", "from 1"),
        (retry(JitterStrategy="SOME"), "States.A.Retry[0].JitterStrategy", "FULL"),
        (retry(Next="A"), "States.A.Retry[0].Next", "no field of a retrier"),
        (
            task(Retry=[{"ErrorEquals": ["States.ALL"]}, {"ErrorEquals": ["E"]}]),
            "States.A.Retry[0].ErrorEquals",
            "last",
        ),
        (task(Catch=[{"ErrorEquals": ["E"]}]), "States.A.Catch[0].Next", "has to be there"),
        (
            task(Catch=[{"ErrorEquals": ["E"], "Next": "A", "MaxAttempts": 1}]),
            "States.A.Catch[0].MaxAttempts",
            "no field",
        ),
        (
            task(Catch=[{"ErrorEquals": ["E"], "Next": "A", "ResultPath": "$..a"}]),
            "States.A.Catch[0].ResultPath",
            "Ref",
        ),
        # Choice.
        ([{"Type": "Choice"}, END], "States.A.Choices", "has to be there"),
        ([{"Type": "Choice", "Choices": []}, END], "States.A.Choices", "empty"),
        ([{"Type": "Choice", "Choices": {}}, END], "States.A.Choices", "array"),
        ([{"Type": "Choice", "Choices": [5]}, END], "States.A.Choices[0]", "object"),
        ([rule(Variable="$", IsNull=True)[0] | {"End": True}, END], "States.A.End", "no field of a Choice"),
        (rule(), "States.A.Choices[0]", "one of And"),
        (rule(Variable="$"), "States.A.Choices[0]", "one of And"),
        (rule(Variable="$", IsNull=True, IsString=True), "States.A.Choices[0]", "not IsNull and IsString"),
        (rule(StringEquals="a"), "States.A.Choices[0].Variable", "has to be there"),
        (rule(Variable="a", StringEquals="a"), "States.A.Choices[0].Variable", "begins with $"),
        (rule(Variable="$", StringEquals=1), "States.A.Choices[0].StringEquals", "a string"),
        (rule(Variable="$", NumericEquals=True), "States.A.Choices[0].NumericEquals", "a number"),
        (rule(Variable="$", BooleanEquals="true"), "States.A.Choices[0].BooleanEquals", "true or false"),
        (rule(Variable="$", IsPresent="yes"), "States.A.Choices[0].IsPresent", "true or false"),
        (rule(Variable="$", TimestampEquals="now"), "States.A.Choices[0].TimestampEquals", "a timestamp"),
        (rule(Variable="$", StringEqualsPath="a"), "States.A.Choices[0].StringEqualsPath", "begins with $"),
        (rule(Variable="$", StringMatches="a\\b"), "States.A.Choices[0].StringMatches", "backslash"),
        (rule(Variable="$", StringMatchesPath="$.a"), "States.A.Choices[0].StringMatchesPath", "no field"),
        (rule(Variable="$", NumericMatches="a"), "States.A.Choices[0].NumericMatches", "no field"),
        (rule(And=[]), "States.A.Choices[0].And", "empty"),
        (rule(Or={}), "States.A.Choices[0].Or", "array"),
        (rule(Not=[]), "States.A.Choices[0].Not", "object"),
        (rule(Not={"Variable": "$", "IsNull": True, "Next": "B"}), "States.A.Choices[0].Not.Next", "outermost"),
        (rule(And=[{"Not": {"Or": [{}]}}]), "States.A.Choices[0].And[0].Not.Or[0]", "one of And"),
        (rule(Not={"Variable": "$", "IsNull": True}, Variable="$"), "States.A.Choices[0].Variable", "comparison"),
        (rule(Condition="{% true %}"), "States.A.Choices[0].Condition", "JSONata"),
        # Wait.
        ([{"Type": "Wait", "End": True}], "States.A", "one of Seconds"),
        ([{"Type": "Wait", "Seconds": 1, "SecondsPath": "$.a", "End": True}], "States.A.SecondsPath", "together"),
        ([{"Type": "Wait", "Seconds": -1, "End": True}], "States.A.Seconds", "from 0"),
        ([{"Type": "Wait", "Seconds": "1", "End": True}], "States.A.Seconds", "number"),
        ([{"Type": "Wait", "Timestamp": "2016-03-14", "End": True}], "States.A.Timestamp", "2026-03-14T01:59:00Z"),
        ([{"Type": "Wait", "Timestamp": "", "End": True}], "States.A.Timestamp", "2026-03-14T01:59:00Z"),
        ([{"Type": "Wait", "Timestamp": 5, "End": True}], "States.A.Timestamp", "string"),
        ([{"Type": "Wait", "TimestampPath": "a", "End": True}], "States.A.TimestampPath", "begins with $"),
        # Parallel and Map.
        ([{"Type": "Parallel", "End": True}], "States.A.Branches", "has to be there"),
        ([{"Type": "Parallel", "Branches": [], "End": True}], "States.A.Branches", "empty"),
        ([{"Type": "Parallel", "Branches": {}, "End": True}], "States.A.Branches", "array"),
        ([{"Type": "Parallel", "Branches": [5], "End": True}], "States.A.Branches[0]", "object"),
        ([{"Type": "Parallel", "Branches": [{}], "End": True}], "States.A.Branches[0].StartAt", "has to be there"),
        ([{"Type": "Map", "End": True}], "States.A", "ItemProcessor"),
        (each(Iterator={}), "States.A.Iterator", "together with ItemProcessor"),
        (each(ItemProcessor=5), "States.A.ItemProcessor", "object"),
        (
            each(ItemProcessor={"ProcessorConfig": {"Mode": "DISTRIBUTED"}, "StartAt": "X", "States": {"X": END}}),
            "States.A.ItemProcessor.ProcessorConfig.Mode",
            "INLINE",
        ),
        (each(MaxConcurrency=-1), "States.A.MaxConcurrency", "from 0"),
        (each(MaxConcurrency=1, MaxConcurrencyPath="$.a"), "States.A.MaxConcurrencyPath", "together"),
        (each(ToleratedFailurePercentage=5), "States.A.ToleratedFailurePercentage", "not supported"),
        (each(ToleratedFailureCount=1), "States.A.ToleratedFailureCount", "not supported"),
        # Fail.
        ([{"Type": "Fail", "Error": "E", "ErrorPath": "$.e"}], "States.A.ErrorPath", "together with Error"),
        ([{"Type": "Fail", "Cause": 5}], "States.A.Cause", "string"),
        ([{"Type": "Fail", "CausePath": "text"}], "States.A.CausePath", "States.Format"),
        ([{"Type": "Fail", "CausePath": "$..a"}], "States.A.CausePath", "Reference Path"),
    ],
)
def test_what_is_wrong_with_a_state(states: list[dict[str, Any]], path: str, message: str) -> None:
    found = problems_with(*states)
    assert message in found.get(path, ""), found
