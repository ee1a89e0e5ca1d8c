"""FLORES's codes of languages, and the codes that `<2xx>` has for them.

The latter are mC4's (`nmt5.data.languages`), ISO 639-1 where mC4 has none, else the part before the
script; a script is kept where a language is there in a second one.

Source: https://github.com/facebookresearch/flores `flores200/README.md` (a6c830c); names of
openlanguagedata/flores_plus on the Hugging Face hub (5fec6c13), where FLORES goes on as FLORES+.
"""

from collections.abc import Mapping
from types import MappingProxyType


def _text_codes(entries: str) -> Mapping[str, str]:
    """Returns {code: text code}; what has no `=` keeps the part before the script."""
    found = {}
    for entry in entries.split():
        code, _, text = entry.partition("=")
        found[code] = text or code.split("_")[0]
    return MappingProxyType(found)


FLORES_200 = _text_codes(
    "ace_Arab=ace-Arab ace_Latn acm_Arab acq_Arab aeb_Arab afr_Latn=af ajp_Arab aka_Latn=ak "
    "amh_Ethi=am apc_Arab arb_Arab=ar arb_Latn=ar-Latn ars_Arab ary_Arab arz_Arab asm_Beng=as "
    "ast_Latn awa_Deva ayr_Latn=ay azb_Arab azj_Latn=az bak_Cyrl=ba bam_Latn=bm ban_Latn "
    "bel_Cyrl=be bem_Latn ben_Beng=bn bho_Deva bjn_Arab=bjn-Arab bjn_Latn bod_Tibt=bo bos_Latn=bs "
    "bug_Latn bul_Cyrl=bg cat_Latn=ca ceb_Latn ces_Latn=cs cjk_Latn ckb_Arab crh_Latn cym_Latn=cy "
    "dan_Latn=da deu_Latn=de dik_Latn dyu_Latn dzo_Tibt=dz ell_Grek=el eng_Latn=en epo_Latn=eo "
    "est_Latn=et eus_Latn=eu ewe_Latn=ee fao_Latn=fo fij_Latn=fj fin_Latn=fi fon_Latn fra_Latn=fr "
    "fur_Latn fuv_Latn=ff gla_Latn=gd gle_Latn=ga glg_Latn=gl grn_Latn=gn guj_Gujr=gu hat_Latn=ht "
    "hau_Latn=ha heb_Hebr=iw hin_Deva=hi hne_Deva hrv_Latn=hr hun_Latn=hu hye_Armn=hy ibo_Latn=ig "
    "ilo_Latn ind_Latn=id isl_Latn=is ita_Latn=it jav_Latn=jv jpn_Jpan=ja kab_Latn kac_Latn "
    "kam_Latn kan_Knda=kn kas_Arab=ks kas_Deva=ks-Deva kat_Geor=ka knc_Arab=kr-Arab knc_Latn=kr "
    "kaz_Cyrl=kk kbp_Latn kea_Latn khm_Khmr=km kik_Latn=ki kin_Latn=rw kir_Cyrl=ky kmb_Latn "
    "kmr_Latn=ku kon_Latn=kg kor_Hang=ko lao_Laoo=lo lij_Latn lim_Latn=li lin_Latn=ln lit_Latn=lt "
    "lmo_Latn ltg_Latn ltz_Latn=lb lua_Latn lug_Latn=lg luo_Latn lus_Latn lvs_Latn=lv mag_Deva "
    "mai_Deva mal_Mlym=ml mar_Deva=mr min_Arab=min-Arab min_Latn mkd_Cyrl=mk plt_Latn=mg "
    "mlt_Latn=mt mni_Beng khk_Cyrl=mn mos_Latn mri_Latn=mi mya_Mymr=my nld_Latn=nl nno_Latn=nn "
    "nob_Latn=nb npi_Deva=ne nso_Latn nus_Latn nya_Latn=ny oci_Latn=oc gaz_Latn=om ory_Orya=or "
    "pag_Latn pan_Guru=pa pap_Latn pes_Arab=fa pol_Latn=pl por_Latn=pt prs_Arab pbt_Arab=ps "
    "quy_Latn=qu ron_Latn=ro run_Latn=rn rus_Cyrl=ru sag_Latn=sg san_Deva=sa sat_Olck scn_Latn "
    "shn_Mymr sin_Sinh=si slk_Latn=sk slv_Latn=sl smo_Latn=sm sna_Latn=sn snd_Arab=sd som_Latn=so "
    "sot_Latn=st spa_Latn=es als_Latn=sq srd_Latn=sc srp_Cyrl=sr ssw_Latn=ss sun_Latn=su "
    "swe_Latn=sv swh_Latn=sw szl_Latn tam_Taml=ta tat_Cyrl=tt tel_Telu=te tgk_Cyrl=tg "
    "tgl_Latn=fil tha_Thai=th tir_Ethi=ti taq_Latn taq_Tfng=taq-Tfng tpi_Latn tsn_Latn=tn "
    "tso_Latn=ts tuk_Latn=tk tum_Latn tur_Latn=tr twi_Latn=tw tzm_Tfng uig_Arab=ug ukr_Cyrl=uk "
    "umb_Latn urd_Arab=ur uzn_Latn=uz vec_Latn vie_Latn=vi war_Latn wol_Latn=wo xho_Latn=xh "
    "ydd_Hebr=yi yor_Latn=yo yue_Hant zho_Hans=zh zho_Hant=zh-Hant zsm_Latn=ms zul_Latn=zu"
)
# Languages and names that only FLORES+ has.
FLORES_PLUS = _text_codes(
    "apc_Arab_nort3139 apc_Arab_sout3123 arg_Latn=an brx_Deva cat_Latn_vale1252=ca chv_Cyrl=cv "
    "cmn_Hans=zh cmn_Hant=zh-Hant dar_Cyrl dgo_Deva ekk_Latn=et fil_Latn gom_Deva gug_Latn=gn "
    "kaa_Latn khk_Mong=mn-Mong kjh_Cyrl ktu_Latn lld_Latn lld_Latn_gard1241 mfe_Latn mhr_Cyrl "
    "mni_Mtei=mni-Mtei myv_Cyrl nob_Latn_radical=nb nqo_Nkoo oci_Latn_aran1260=oc "
    "snd_Deva=sd-Deva twi_Latn_akua1239=tw twi_Latn_asan1239=tw tyv_Cyrl uzs_Arab vmw_Latn "
    "wuu_Hans zgh_Tfng"
)
# FLORES-200's names that FLORES+ changed.
RENAMED = MappingProxyType(
    {
        "ajp_Arab": "apc_Arab_sout3123", "aka_Latn": "twi_Latn_akua1239",
        "apc_Arab": "apc_Arab_nort3139", "est_Latn": "ekk_Latn", "grn_Latn": "gug_Latn",
        "kon_Latn": "ktu_Latn", "tgl_Latn": "fil_Latn", "twi_Latn": "twi_Latn_asan1239",
        "tzm_Tfng": "zgh_Tfng", "zho_Hans": "cmn_Hans", "zho_Hant": "cmn_Hant",
    }
)  # fmt: skip
