"""A check as JUnit XML, which CI systems show as tests: one case for each metric."""

from __future__ import annotations

import re
from xml.etree import ElementTree

from benchmark.regression.check import CheckResult
from reports.check import words

# what XML 1.0 allows; a parser refuses the rest even as a character reference
_FORBIDDEN = re.compile(r"[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def to_junit(result: CheckResult) -> bytes:
    """The file: regressed is a failure, inconclusive an error, a metric not judged is skipped."""
    verdicts = [one.verdict for one in result.decisions]
    suite = ElementTree.Element(
        "testsuite",
        name=_clean(f"bench check: {result.title}"),
        tests=str(len(result.decisions) + len(result.unjudged)),
        failures=str(verdicts.count("regressed")),
        errors=str(verdicts.count("inconclusive")),
        skipped=str(len(result.unjudged)),
    )
    group = _clean(result.title)
    for one in result.decisions:
        case = _case(suite, group, one.paired.name)
        text = _clean(words.sentence(one, result))
        if one.verdict == "regressed":
            ElementTree.SubElement(case, "failure", message=text, type=one.verdict)
        elif one.verdict == "inconclusive":
            ElementTree.SubElement(case, "error", message=text, type=one.verdict)
        else:
            ElementTree.SubElement(case, "system-out").text = text
    for name, reason in result.unjudged.items():
        ElementTree.SubElement(_case(suite, group, name), "skipped", message=_clean(reason))
    suites = ElementTree.Element("testsuites")
    suites.append(suite)
    ElementTree.indent(suites)
    text = ElementTree.tostring(suites, encoding="unicode")
    return f'<?xml version="1.0" encoding="utf-8"?>\n{text}\n'.encode()


def _case(suite: ElementTree.Element, group: str, name: str) -> ElementTree.Element:
    return ElementTree.SubElement(suite, "testcase", classname=group, name=_clean(name))


def _clean(text: str) -> str:
    return _FORBIDDEN.sub("\N{REPLACEMENT CHARACTER}", text)
