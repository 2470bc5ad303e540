#!/usr/bin/python3
"""Writes contacts.csv and contacts-bad.csv beside itself: `python3 tests/data/contacts.py`.

The people are invented. Mail domains are reserved for examples (RFC 2606); phone numbers are from the ranges that
countries keep for fiction, or absent.
"""

import csv
import pathlib

COLUMNS = (
    "external_id email phone wechat push locale timezone tags "
    "first_name last_name city vip points birthday member_no company note"
).split()

# locale, time zone, city, mail domain, people as "first|last|mail name"
GROUPS = [
    ("zh-CN", "Asia/Shanghai", "上海", "mail.example",
     "伟|王|wang.wei, 芳|李|lifang, 秀英|张|zhangxiuying, 娜|刘|liuna88, 子轩|欧阳|ouyang.zx, 静|陈|chenjing"),
    ("zh-CN", "Asia/Shanghai", "广州", "example.com",
     "磊|杨|yanglei, 敏|黄|huangmin, 建国|赵|zhao.jianguo, 婷婷|周|tingting, 勇|吴|wuyong2000"),
    ("zh-CN", "Asia/Urumqi", "乌鲁木齐", "mail.example", "阿依古丽|买买提|ayguli, 强|马|maqiang"),
    ("zh-TW", "Asia/Taipei", "臺北", "example.net", "志明|林|lin.chihming, 雅婷|蔡|yating, 家豪|許|hsu.jh"),
    ("zh-HK", "Asia/Hong_Kong", "香港", "example.net", "嘉欣|何|ho.kayan, 俊傑|梁|leung.ck"),
    ("ja-JP", "Asia/Tokyo", "東京", "example.org",
     "太郎|山田|taro.yamada, 花子|佐藤|hanako, さくら|鈴木|sakura.s, ケン|髙橋|ken.t"),
    ("ko-KR", "Asia/Seoul", "서울", "example.com", "민준|김|minjun.kim, 서연|이|seoyeon, 지우|박|jiwoo"),
    ("vi-VN", "Asia/Ho_Chi_Minh", "Thành phố Hồ Chí Minh", "example.org",
     "Thị Hương|Nguyễn|huong.nguyen, Đức Anh|Trần|ducanh, Ngọc Ánh|Phạm|anhpham"),
    ("th-TH", "Asia/Bangkok", "กรุงเทพมหานคร", "example.com", "สมชาย|ใจดี|somchai, กัญญา|ศรีสุข|kanya"),
    ("hi-IN", "Asia/Kolkata", "मुंबई", "mail.example",
     "अर्जुन|शर्मा|arjun.sharma, प्रिया|पटेल|priya, ऋषि|श्रीवास्तव|rishi.s"),
    ("ta-IN", "Asia/Kolkata", "சென்னை", "example.org", "கார்த்திக்|முருகன்|karthik, லட்சுமி|ராமன்|lakshmi"),
    ("ne-NP", "Asia/Kathmandu", "काठमाडौँ", "example.com", "सीता|गुरुङ|sita.gurung, बिमल|श्रेष्ठ|bimal"),
    ("my-MM", "Asia/Yangon", "ရန်ကုန်", "example.net", "အောင်|ကျော်|aung.kyaw"),
    ("ar-EG", "Africa/Cairo", "القاهرة", "example.com",
     "محمد|عبد الرحمن|m.abdelrahman, فاطمة|الزهراء|fatma, أحمد|حسن|ahmed.hassan, مريم|إبراهيم|maryam"),
    ("ar-SA", "Asia/Riyadh", "الرياض", "mail.example", "عائشة|القحطاني|aisha.q, خالد|العتيبي|khalid"),
    ("ar-AE", "Asia/Dubai", "دبي", "example.org", "ليلى|المنصوري|layla, عمر|الهاشمي|omar.h"),
    ("fa-IR", "Asia/Tehran", "تهران", "example.com", "زهرا|محمدی|zahra.m, علی‌رضا|حسینی|alireza"),
    ("ur-PK", "Asia/Karachi", "کراچی", "example.net", "ثنا|خان|sana.khan"),
    ("he-IL", "Asia/Jerusalem", "תל אביב", "example.org", "נועה|כהן|noa.cohen, אבי|לוי|avi"),
    ("ru-RU", "Europe/Moscow", "Москва", "example.com",
     "Анна|Иванова|anna.ivanova, Пётр|Королёв|korolev, Наталья|Щукина|n.schukina"),
    ("ru-RU", "Asia/Vladivostok", "Владивосток", "mail.example", "Юрий|Ёлкин|elkin.yuri"),
    ("uk-UA", "Europe/Kyiv", "Київ", "example.org", "Оксана|Шевченко|oksana, Ігор|Їжакевич|ihor"),
    ("el-GR", "Europe/Athens", "Αθήνα", "example.com", "Ελένη|Παπαδοπούλου|eleni.p, Γιώργος|Νικολάου|giorgos"),
    ("ka-GE", "Asia/Tbilisi", "თბილისი", "example.net", "ნინო|ბერიძე|nino"),
    ("hy-AM", "Asia/Yerevan", "Երևան", "example.org", "Անի|Պետրոսյան|ani.p"),
    ("am-ET", "Africa/Addis_Ababa", "አዲስ አበባ", "example.com", "ሰላም|ተስፋዬ|selam"),
    ("de-DE", "Europe/Berlin", "Berlin", "example.com",
     "Jürgen|Groß|juergen.gross, Änne|Müller|aenne, Käthe|Weiß-Löwenthal|kaethe.w, Björn|Öztürk|bjoern"),
    ("de-AT", "Europe/Vienna", "Wien", "example.org", "Maximilian|Freiherr von und zu Hohenegg|max.hohenegg"),
    ("de-CH", "Europe/Zurich", "Zürich", "example.net", "Ueli|Bärtschi|ueli, Réka|Ammann|reka"),
    ("fr-FR", "Europe/Paris", "Paris", "example.com",
     "Zoë|Lefèvre|zoe.lefevre, François|d'Aubigné|f.daubigne, Noël|Çelik|noel, Anaïs|L'Hôpital|anais"),
    ("fr-CA", "America/Toronto", "Montréal", "example.org", "Geneviève|Côté|gen.cote, Éloïse|Bélanger|eloise"),
    ("it-IT", "Europe/Rome", "Forlì", "example.net", "Niccolò|D'Angelo|niccolo, Chiara|De Luca|chiara"),
    ("es-ES", "Europe/Madrid", "A Coruña", "example.com", "Íñigo|Núñez|inigo, María José|Muñoz García|mariajose"),
    ("es-MX", "America/Mexico_City", "México", "example.org", "Ángel|Peña|angel.pena, Xóchitl|Hernández|xochitl"),
    ("ca-ES", "Europe/Madrid", "Sant Cugat", "example.net", "Jordi|Gal·la|jordi"),
    ("pt-BR", "America/Sao_Paulo", "São Paulo", "example.com",
     "João|Conceição|joao.c, Antônia|Guimarães|antonia, Luís|da Silva e Souza|luis"),
    ("pt-PT", "Atlantic/Azores", "Ponta Delgada", "example.org", "Inês|Magalhães|ines"),
    ("nl-NL", "Europe/Amsterdam", "'s-Hertogenbosch", "example.net", "Jan|van 't Hoff|jan.vanthoff, Zoé|IJzerman|zoe"),
    ("pl-PL", "Europe/Warsaw", "Łódź", "example.com", "Łukasz|Źdźbło|lukasz, Małgorzata|Święcicka|gosia"),
    ("cs-CZ", "Europe/Prague", "Plzeň", "example.org", "Jiří|Dvořák|jiri.dvorak, Tereza|Nováčková|tereza"),
    ("hu-HU", "Europe/Budapest", "Győr", "example.net", "Ödön|Kőszegi|odon, Zsófia|Szűcs|zsofia"),
    ("ro-RO", "Europe/Bucharest", "Timișoara", "example.com", "Ștefan|Țurcanu|stefan.t"),
    ("tr-TR", "Europe/Istanbul", "İstanbul", "example.com", "Işıl|Yıldız|isil, İbrahim|Gökçe|ibrahim, Şule|Çağlar|sule"),
    ("sv-SE", "Europe/Stockholm", "Malmö", "example.org", "Åsa|Sjöström|asa, Örjan|Ängström|orjan"),
    ("da-DK", "Europe/Copenhagen", "Aarhus", "example.net", "Søren|Kjær|soren, Bodil|Ærø|bodil"),
    ("is-IS", "Atlantic/Reykjavik", "Reykjavík", "example.com", "Þórdís|Guðmundsdóttir|thordis, Ægir|Þórsson|aegir"),
    ("fi-FI", "Europe/Helsinki", "Äänekoski", "example.org", "Päivi|Hämäläinen|paivi"),
    ("lv-LV", "Europe/Riga", "Rīga", "example.net", "Jānis|Bērziņš|janis"),
    ("ga-IE", "Europe/Dublin", "Gaillimh", "example.com", "Sinéad|Ó Briain|sinead, Seán|Mac Giolla Phádraig|sean"),
    ("cy-GB", "Europe/London", "Llanfairpwllgwyngyll", "example.org", "Siân|ap Llŷr|sian"),
    ("en-GB", "Europe/London", "London", "example.com",
     "Nigel|St. John-Smythe|nigel, Aoife|O’Neill|aoife, Dwayne|O'Connor|dwayne, Mary-Jane|Watson|mj"),
    ("en-US", "America/New_York", "New York", "example.com",
     "Robert|O'Reilly|bob, LaToya|Jackson-Brown|latoya, Xander|McDonald III|xander, Jo|Li|jo"),
    ("en-US", "America/Phoenix", "Phoenix", "example.org", "Dakota|Begay|dakota, Ray|Null|ray.null"),
    ("en-US", "America/Chicago", "Chicago", "example.net", "Test|True|t.true, Kim|False|kim.false"),
    ("haw-US", "Pacific/Honolulu", "Honolulu", "example.com", "Kaʻiulani|Keʻelikōlani|kaiulani"),
    ("en-CA", "America/St_Johns", "St. John's", "example.org", "Gus|Penney|gus, Marguerite|Le Drew|marg"),
    ("en-AU", "Australia/Adelaide", "Adelaide", "example.com", "Bruce|Nguyen|bruce, Sheila|O'Brien|sheila"),
    ("en-AU", "Australia/Lord_Howe", "Lord Howe Island", "example.org", "Matilda|Pinetree|matilda"),
    ("en-AU", "Australia/Eucla", "Eucla", "example.net", "Clancy|Overflow|clancy"),
    ("mi-NZ", "Pacific/Auckland", "Tāmaki Makaurau", "example.com", "Māui|Te Rangi|maui, Aroha|Ngātā|aroha"),
    ("en-NZ", "Pacific/Chatham", "Waitangi", "example.org", "Hine|Solomon|hine"),
    ("en-KI", "Pacific/Kiritimati", "London", "example.net", "Tekea|Banaba|tekea"),
    ("sm-AS", "Pacific/Pago_Pago", "Pago Pago", "example.com", "Sina|Faʻafetai|sina"),
    ("fr-PF", "Pacific/Marquesas", "Taiohaʻe", "example.org", "Teiki|Hīkina|teiki"),
    ("sw-KE", "Africa/Nairobi", "Nairobi", "example.net", "Wanjikũ|Kamau|wanjiku, Otieno|Ng'ang'a|otieno"),
    ("yo-NG", "Africa/Lagos", "Ìbàdàn", "example.com", "Adébáyọ̀|Ọlátúnjí|adebayo"),
    ("en-ZA", "Africa/Johannesburg", "Gqeberha", "example.org", "Nomvula|Mkhize|nomvula, Pieter|van der Merwe|pieter"),
    ("ar-MA", "Africa/Casablanca", "الدار البيضاء", "example.net", "يوسف|بنعلي|youssef"),
]

# The ranges that regulators keep for fiction; {} takes two digits.
PHONES = {
    "en-US": "+120255501{}", "fr-CA": "+141655501{}", "en-CA": "+170955501{}", "en-GB": "+447700900{}1",
    "fr-FR": "+3363998{}12", "en-AU": "+6149157{}56", "de-DE": "+493023125{}1", "sv-SE": "+46701740{}5",
    "zh-CN": "+86138001380{}", "ga-IE": "+35320914{}12",
}
TAGS = ["newsletter", "newsletter;vip", "", "newsletter;sale", "vip", "newsletter;wholesale;2026", "beta"]
COMPANIES = {3: "Groß & Söhne GmbH", 17: 'Smith, Jones "and" Partners', 41: "上海贸易有限公司", 77: "Ünal, Şen ve Ort."}
FAMILY = "👨‍👩‍👧‍👦"


def ordinary():
    number = 0
    for locale, zone, city, domain, people in GROUPS:
        for person in people.split(", "):
            number += 1
            first, last, name = person.split("|")
            chinese = locale == "zh-CN"
            yield {
                "external_id": f"C-{number:04}",
                "email": f"{name}@{domain}" if number % 19 else "",
                "phone": PHONES[locale].format(f"{number % 100:02}") if locale in PHONES and number % 5 else "",
                "wechat": f"oTest5wX{number:04}kQ2vbn7ZpLmRtYs" if chinese and number % 3 else "",
                "push": f"{number * 7919:064x}" if number % 4 == 0 else "",
                "locale": locale if number % 13 else "",
                "timezone": zone if number % 11 else "",
                "tags": TAGS[number % len(TAGS)],
                "first_name": first if number % 17 else "",
                "last_name": last,
                "city": city if number % 7 else "",
                "vip": ["true", "false", ""][number % 3],
                "points": str(number * 37 % 1000) if number % 6 else "",
                "birthday": f"{1950 + number % 55}-{number % 12 + 1:02}-{number % 28 + 1:02}" if number % 9 else "",
                "member_no": f"{number:05}" if number % 2 else "",
                "company": COMPANIES.get(number, ""),
            }


# What breaks importers, templates and reports; each says in `note` what it is here for.
SPECIAL = [
    {"external_id": "S-01", "email": "O'Hara+news@Example.COM", "first_name": "Scarlett", "last_name": "O'Hara",
     "note": "apostrophe, plus and capitals in the address"},
    {"external_id": "S-02", "email": "ANNA.IVANOVA@EXAMPLE.COM", "first_name": "Anna", "note": "same inbox as another, in capitals"},
    {"external_id": "S-03", "email": "Juergen.Gross@Example.Com", "first_name": "Jürgen", "note": "same inbox as another, in other capitals"},
    {"external_id": "S-04", "email": "zoe.lefevre@example.com", "first_name": "Zoe", "note": "same inbox as another, exactly"},
    {"external_id": "S-05", "email": "phone-twice@example.org", "phone": "+1 (202) 555-0199", "note": "phone with separators"},
    {"external_id": "S-06", "email": "phone-again@example.org", "phone": "+12025550199", "note": "the same phone without separators"},
    {"external_id": "S-07", "email": "grin@example.net", "first_name": "😀 Smiley", "last_name": FAMILY, "city": "🏝️",
     "note": "emoji, also one joined of seven code points"},
    {"external_id": "S-08", "email": "lines@example.com", "company": "First line\nSecond line", "note": "a line break\r\nof each kind"},
    {"external_id": "S-09", "email": "quotes@example.com", "company": 'The "Quoted", Comma & Sons', "note": 'says "hi", twice'},
    {"external_id": "S-10", "email": "formula@example.com", "first_name": "=HYPERLINK(\"http://evil.example\",\"win\")",
     "last_name": "@SUM(1+1)", "company": "+1-800-FORMULA", "city": "-2+3", "note": "what a spreadsheet would run"},
    {"external_id": "S-11", "email": "html@example.com", "first_name": "<b>Bold</b>", "last_name": "<script>alert(1)</script>",
     "company": "Fish & Chips", "note": "what HTML must escape"},
    {"external_id": "S-12", "email": "template@example.com", "first_name": "{{email}}", "last_name": "{{#each this}}",
     "company": "${PATH} %s %(x)s", "note": "what a template engine must not run"},
    {"external_id": "S-13", "email": "sql@example.com", "last_name": "Robert'); DROP TABLE contacts;--", "note": "Bobby Tables"},
    {"external_id": "00123", "email": "zeros@example.com", "member_no": "00123", "points": "007", "note": "leading zeros stay text"},
    {"external_id": "S-15", "email": "numbers@example.com", "points": "1e3", "member_no": "+5", "company": "12.50",
     "note": "1e3 and 12.50 are JSON numbers, +5 is none"},
    {"external_id": "S-16", "email": "big@example.com", "points": "12345678901234567890123", "note": "larger than any integer type"},
    {"external_id": "S-17", "email": "words@example.com", "first_name": "null", "last_name": "NaN", "city": "Infinity", "vip": "TRUE",
     "note": "words that are no values"},
    {"external_id": "S-18", "email": "spaces@example.com", "first_name": "  Ada  ", "last_name": "Love\u00a0lace", "note": "spaces within"},
    {"external_id": "S-19", "email": "long@example.com",
     "first_name": "Hubert Blaine Adolph Charles David Earl Frederick Gerald " * 5,
     "last_name": "Wolfeschlegelsteinhausenbergerdorff" * 8, "note": "very long names"},
    {"external_id": "S-20", "email": "l" * 64 + "@example.com", "note": "the longest local part"},
    {"external_id": "S-21", "email": "idn@xn--bcher-kva.example", "note": "an encoded domain"},
    {"external_id": "S-22", "email": "josé@example.org", "first_name": "José", "note": "address beyond ASCII: needs SMTPUTF8"},
    {"external_id": "S-23", "email": "用户@例子.example", "first_name": "用户", "note": "address and domain beyond ASCII"},
    {"external_id": "S-24", "email": "decomposed@example.org", "first_name": "Rene\u0301e", "last_name": "Mu\u0308ller",
     "note": "accents as separate code points"},
    {"external_id": "S-25", "email": "mixed@example.org", "first_name": "Sara سارة", "last_name": "(علي) Ali",
     "note": "two directions in one line"},
    {"external_id": "S-26", "email": "override@example.org", "first_name": "\u202eevil\u202c", "note": "a direction override"},
    {"external_id": "S-27", "email": "rare@example.org", "first_name": "𠮷野", "last_name": "𓀀", "note": "beyond the basic plane"},
    {"external_id": "S-28", "email": "zalgo@example.org", "first_name": "Z̸̢̛a̶l̵g̷o̴", "note": "many combining marks"},
    {"external_id": "S-29", "phone": "+447700900999", "first_name": "Nomail", "note": "no e-mail address"},
    {"external_id": "S-30", "note": "no address at all"},
    {"external_id": "S-31", "email": "only@example.com"},
    {"external_id": "id with spaces / slash?#%", "email": "odd-id@example.com", "note": "an id that URLs must encode"},
    {"external_id": "联系人-33", "email": "chinese-id@example.com", "note": "an id beyond ASCII"},
    {"external_id": "i" * 200, "email": "long-id@example.com", "note": "the longest id"},
    {"external_id": "S-35", "email": "case@example.com", "tags": "VIP;vip; spaced ;;newsletter", "note": "tags that differ by case, blanks"},
    {"external_id": "s-35", "email": "case-2@example.com", "note": "an id that differs from another by case"},
    {"external_id": "S-37", "email": "reject-37@example.com", "note": "the recording mail sink refuses it"},
    {"external_id": "S-38", "email": "defer-38@example.com", "note": "the recording mail sink puts it off once"},
    {"external_id": "S-39", "email": "zone@example.com", "timezone": "UTC", "locale": "en", "note": "plain UTC, a bare language"},
    {"external_id": "S-40", "email": "script@example.com", "locale": "zh-Hant-TW", "timezone": "Asia/Taipei", "note": "a tag with a script"},
]

BAD_HEADER = "external_id,email,phone,locale,timezone,tags,city"
# (what is wrong or "good", the line as bytes). The last one swallows the rest of the file.
BAD = [
    ("good", b"B-good-1,good-1@example.com,+12025550101,en-US,America/New_York,newsletter,Boston"),
    ("e-mail", b"B-email,not-an-address,,,,,Boston"),
    ("e-mail", b"B-email-2,two@at@signs..example,,,,,Boston"),
    ("phone", b"B-phone,phone@example.com,555-0101,,,,Boston"),
    ("id", b",no-id@example.com,,,,,Boston"),
    ("id", b"i" * 201 + b",long-id@example.com,,,,,Boston"),
    ("id", b"B-\x07bell,control@example.com,,,,,Boston"),
    ("locale", b"B-locale,locale@example.com,,e,,,Boston"),
    ("time zone", b"B-zone,zone@example.com,,,Mars/Olympus_Mons,,Boston"),
    ("columns", b"B-many,many@example.com,,,,,Boston,one,two,many"),
    ("columns", b"B-few,few@example.com"),
    ("UTF-8", b"B-utf8,utf8@example.com,,,,,M\xfcnchen"),
    ("NUL", b"B-nul,nul@example.com,,,,,Bos\0ton"),
    ("e-mail and time zone", b"B-both,nope,,,Nowhere,,Boston"),
    ("good", "B-good-2,good-2@example.com,,de-DE,Europe/Berlin,vip,Köln".encode()),
    ("quote", b'B-quote,quote@example.com,,,,,"Boston'),
]


def main():
    here = pathlib.Path(__file__).parent
    with open(here / "contacts.csv", "w", encoding="utf-8", newline="") as file:
        rows = csv.DictWriter(file, COLUMNS, restval="", lineterminator="\n")
        rows.writeheader()
        rows.writerows(ordinary())
        rows.writerows(SPECIAL)
    lines = [BAD_HEADER.encode()] + [line for _, line in BAD]
    (here / "contacts-bad.csv").write_bytes(b"\n".join(lines) + b"\n")


if __name__ == "__main__":
    main()
