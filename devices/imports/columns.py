"""The columns of a file of devices, and the headers by which they are recognised."""

import unicodedata
from collections.abc import Mapping, Sequence

from devices.registry.exports import ATTRIBUTE
from devices.registry.services.attributes import of_tenant as of_current_tenant

# Field: its label. The fields of one device may be in several columns, see `MANY`.
FIELDS = {
    "name": "Name",
    "serial_number": "Serial number",
    "android_id": "Android ID",
    "mac_addresses": "MAC addresses",
    "model": "Model",
    "manufacturer": "Manufacturer",
    "site": "Site",
    "tags": "Tags",
    "notes": "Notes",
    "id": "Device id",
}
MANY = frozenset({"mac_addresses", "tags"})
IDENTIFYING = frozenset({"serial_number", "android_id", "mac_addresses", "id"})

# Further headers of other systems and languages, without case, spaces and punctuation.
_SYNONYMS = {
    "name": "devicename displayname screenname player playername screen display label title"
    " gerätename gerät bezeichnung bildschirm nombre nom nome שם",
    "serial_number": "serial serialno serialnr serialnumbers sn snr hardwareserial seriennummer"
    " seriennr numérodesérie noserie númerodeserie מספרסידורי",
    "android_id": "androidids androiddeviceid ssaid androidkennung",
    "mac_addresses": "mac macs macaddress macid ethernetmac lanmac wifimac wlanmac ethmac"
    " ethernetmacaddress wifimacaddress macadresse macadressen adressemac direcciónmac",
    "model": "modelname devicemodel modell gerätemodell modèle modelo דגם",
    "manufacturer": "vendor brand make hersteller marke fabricant fabricante יצרן",
    "site": "sites sitename location store shop branch building standort filiale ort sitio"
    " emplacement ubicación tienda magasin אתר",
    "tags": "tag labels groups group etiketten schlagworte gruppen étiquettes etiquetas תגיות",
    "notes": "note comment comments remark remarks notizen bemerkung bemerkungen kommentar notas"
    " comentarios remarque remarques commentaire הערות",
    "id": "deviceid deviceuuid uuid geräteid",
}


def normalized(header: str) -> str:
    """Return a header without differences of case, width, spaces and punctuation."""
    text = unicodedata.normalize("NFKC", header).casefold()
    return "".join(character for character in text if character.isalnum())


_KNOWN = {normalized(field): field for field in FIELDS} | {
    normalized(word): field for field, words in _SYNONYMS.items() for word in words.split()
}


def of_tenant() -> dict[str, str]:
    """Return the fields that devices of the current tenant have, with their labels."""
    attributes = of_current_tenant()
    return FIELDS | {f"{ATTRIBUTE}{key}": row.label for key, row in attributes.items()}


def guess(headers: Sequence[str], fields_of_tenant: Mapping[str, str] = FIELDS) -> list[str]:
    """Return the field of each column; "" for a column that is not recognised.

    A field that only one column can have goes to the first column.

    Args:
        fields_of_tenant: see `of_tenant`.
    """
    fields: list[str] = []
    own = {
        normalized(name): field
        for field, label in fields_of_tenant.items()
        for name in (field, label, field.removeprefix(ATTRIBUTE))
    }
    known = own | _KNOWN
    for header in headers:
        field = known.get(normalized(header), "")
        fields.append("" if field in fields and field not in MANY else field)
    return fields


def fault(fields: Sequence[str]) -> str:
    """Return why devices cannot be read with these fields of the columns; "" if they can."""
    for field in dict.fromkeys(fields):
        if field and field not in MANY and fields.count(field) > 1:
            return f"Two columns are {FIELDS.get(field, field)}. Choose one of them."
    if not IDENTIFYING & set(fields):
        labels = ", ".join(FIELDS[field] for field in FIELDS if field in IDENTIFYING)
        return f"No column identifies the devices. Choose a column for one of: {labels}."
    return ""
