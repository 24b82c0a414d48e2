"""The services, and what may be said to a citizen: short sentences in four languages, written by the authority and not by a pilot.

A pilot names a sentence by its code and the words of the request that decided by their places; the harness puts both together. So
what is said keeps its accents though a pilot's text is printable ASCII, and no stranger's text is shown to anybody.
"""

LANGUAGES = ("lb", "fr", "de", "en")
MOST_WORDS = 5
"""Words that one explanation may name."""
ANSWERED, ABSTAINED = "answered", "abstained"
"""When a sentence may be used."""

SERVICES = {
    "civil": {"lb": "Biergeramt", "fr": "État civil", "de": "Standesamt und Meldeamt", "en": "Civil registry"},
    "taxes": {"lb": "Steierverwaltung", "fr": "Impôts", "de": "Steuerverwaltung", "en": "Taxes"},
    "social": {"lb": "Sozialversécherung", "fr": "Sécurité sociale", "de": "Sozialversicherung", "en": "Social security"},
    "housing": {"lb": "Wunnengswiesen", "fr": "Logement", "de": "Wohnungswesen", "en": "Housing"},
    "work": {"lb": "Aarbecht", "fr": "Emploi", "de": "Arbeit", "en": "Employment"},
    "mobility": {"lb": "Verkéier", "fr": "Circulation", "de": "Verkehr", "en": "Vehicles and driving licences"},
    "residence": {"lb": "Immigratioun", "fr": "Immigration", "de": "Einwanderung", "en": "Immigration"},
    "schools": {"lb": "Schoulen", "fr": "Écoles", "de": "Schulen", "en": "Schools"},
    "waste": {"lb": "Gemengendéngschter", "fr": "Services communaux", "de": "Gemeindedienste", "en": "Waste and water"},
}
"""Code → name in each language."""

EXPLANATIONS = {
    "WORDS": {
        "when": ANSWERED,
        "lb": "Är Ufro geet un de Service „{service}“. Dës Wierder hunn dat entscheet: {words}. Stëmmt dat net? Da sot et eis.",
        "fr": "Votre demande va au service « {service} ». Ces mots ont décidé : {words}. Ce n'est pas juste ? Dites-le-nous.",
        "de": "Ihre Anfrage geht an die Stelle „{service}“. Diese Wörter haben entschieden: {words}. Stimmt das nicht? Sagen Sie es uns.",
        "en": "Your request goes to “{service}”. These words decided: {words}. Is this wrong? Please tell us.",
    },
    "SEVERAL": {
        "when": ABSTAINED,
        "lb": "Méi wéi ee Service kéint zoustänneg sinn. E Mataarbechter liest Är Ufro a mellt sech bei Iech.",
        "fr": "Plusieurs services peuvent être compétents. Un agent lit votre demande et vous répond.",
        "de": "Mehrere Stellen können zuständig sein. Ein Mensch liest Ihre Anfrage und meldet sich.",
        "en": "More than one service may be responsible. A member of staff reads your request and answers you.",
    },
    "OUTSIDE": {
        "when": ABSTAINED,
        "lb": "Mir hu kee Service fonnt, dee fir Är Ufro zoustänneg ass. E Mataarbechter kuckt no.",
        "fr": "Nous n'avons pas trouvé de service pour votre demande. Un agent va vérifier.",
        "de": "Wir haben keine Stelle für Ihre Anfrage gefunden. Ein Mensch prüft das.",
        "en": "We found no service for your request. A member of staff will check.",
    },
    "UNCLEAR": {
        "when": ABSTAINED,
        "lb": "Mir hunn Är Ufro net sécher verstanen. E Mataarbechter liest se.",
        "fr": "Nous n'avons pas bien compris votre demande. Un agent va la lire.",
        "de": "Wir haben Ihre Anfrage nicht sicher verstanden. Ein Mensch liest sie.",
        "en": "We are not sure that we understood your request. A member of staff will read it.",
    },
}
"""Code → when it may be used, and the sentence in each language."""


def render(code: str, language: str, service: str, words: list[str]) -> str:
    """What the citizen reads."""
    return EXPLANATIONS[code][language].format(service=SERVICES[service][language], words=", ".join(words))
