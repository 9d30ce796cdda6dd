"""The columns of a file of devices, and the headers by which they are recognised."""

import unicodedata
from collections.abc import Sequence

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
    "id": "deviceid deviceuuid uuid geräteid",
}


def normalized(header: str) -> str:
    """Return a header without differences of case, width, spaces and punctuation."""
    text = unicodedata.normalize("NFKC", header).casefold()
    return "".join(character for character in text if character.isalnum())


_KNOWN = {normalized(field): field for field in FIELDS} | {
    normalized(word): field for field, words in _SYNONYMS.items() for word in words.split()
}


def guess(headers: Sequence[str]) -> list[str]:
    """Return the field of each column; "" for a column that is not recognised.

    A field that only one column can have goes to the first column.
    """
    fields: list[str] = []
    for header in headers:
        field = _KNOWN.get(normalized(header), "")
        fields.append("" if field in fields and field not in MANY else field)
    return fields


def fault(fields: Sequence[str]) -> str:
    """Return why devices cannot be read with these fields of the columns; "" if they can."""
    for field in FIELDS.keys() - MANY:
        if fields.count(field) > 1:
            return f"Two columns are {FIELDS[field]}. Choose one of them."
    if not IDENTIFYING & set(fields):
        labels = ", ".join(FIELDS[field] for field in FIELDS if field in IDENTIFYING)
        return f"No column identifies the devices. Choose a column for one of: {labels}."
    return ""
